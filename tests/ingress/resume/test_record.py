"""What a store keeps of a session is counted as it is in memory; what has ended stays so."""

from __future__ import annotations

import pickle
import secrets
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest

from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import (
    ClaimRefused,
    NewestResult,
    Numbered,
    Parked,
    SessionSettings,
    Title,
    hash_token,
)
from models.view import View
from tests.ingress.titles import ORIGIN, T1, T2, T3, numbered, parked, title

# ------------------------------------------------------------------ what it takes

MANY = 40


def texts(text: str, number: int) -> tuple[Numbered, ...]:
    return tuple(numbered(1000 + n, f"{text}{n}") for n in range(number))


USED = Parked(
    control=texts("x" * 300, 20),
    control_seq=1020,
    result_seq=3000,
    unacked=tuple((3000 + n, 4000 + n) for n in range(4)),
    newest=NewestResult(3000, 4000, bytes(30_000), 0.3),
)
KEPT = {
    "a held one": (title(), None),
    "one that was never used": (title(), Parked(unused=True)),
    "a used one": (title(), USED),
    "letters of four bytes": (title(), Parked(control=texts("x" * 900 + "\U0001f600", 100))),
    "small messages": (title(), Parked(control=texts("x", 256))),
    "results that are not acknowledged": (
        title(), Parked(unacked=tuple((3000 + n, 4000 + n) for n in range(300))),
    ),
    "a request with a number of 4,000 digits": (title(), Parked(last_request=10**4000)),
    "many tokens and a long origin": (
        replace(title(T1, T2, T3), origin="https://" + "o" * 2000), Parked(),
    ),
    "a long principal": (title(principal="p" * 250), Parked()),
    "a filter": (
        replace(
            title(), settings=SessionSettings("parts", View(class_filter=tuple(range(256))), 1.0)
        ),
        Parked(settings_only=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("of_one", [True, False])
@pytest.mark.parametrize("what", KEPT)
def test_what_is_kept_is_counted_as_it_is_in_memory(what: str, of_one: bool) -> None:
    store = MemoryStore(ttl_s=60, max_parked=10**6, max_parked_bytes=10**12)
    whose, left = KEPT[what]
    pickles = []
    for n in range(MANY):
        tokens = tuple(hash_token(f"{n} {t}") for t in range(len(whose.tokens)))
        address, principal = "10.0.0.1" if of_one else f"10.0.{n}.1", whose.principal
        principal = principal if of_one or principal is None else f"{principal}{n}"
        mine = replace(whose, tokens=tokens, address=address, principal=principal, serial=1000)
        pickles.append(pickle.dumps((secrets.token_urlsafe(9), mine, left)))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for pickled in pickles:  # as they come from a replica
            _come(store, *pickle.loads(pickled))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert store.kept_bytes == pytest.approx(taken, rel=0.2)


def _come(store: MemoryStore, session: str, whose: Title, left: Parked | None) -> None:
    if left is None:
        store.hold(session, whose, 0.0)
    else:
        store.park(session, whose, left, 0.0)


# ------------------------------------------------------------------ the end


def new_store() -> MemoryStore:
    return MemoryStore(ttl_s=60, max_parked=3, max_parked_bytes=1_000_000)


def heir_of(store: MemoryStore) -> MemoryStore:
    successor = new_store()
    for portion in store.portions(0.0, 1):
        successor.adopt(portion, 0.0)
    return successor


def test_in_whatever_order_its_writes_and_its_end_arrive_nothing_is_left() -> None:
    """Written under its first token, then under a second, and ended; the store may be replaced."""
    first, second = title(T1), title(T2, T1, serial=2, claims=1)
    writes: list[Callable[[MemoryStore], object]] = [
        lambda store: store.hold("s", first, 0.0),
        lambda store: store.park("s", replace(first, serial=9), parked(), 0.0),
        lambda store: store.hold("s", second, 0.0),
        lambda store: store.hold("s", replace(second, tokens=(T2,), serial=3), 0.0),
    ]
    writes.append(lambda store: store.forget("s", replace(second, serial=4), 0.0))
    for order in permutations(writes):
        for handover in range(len(order) + 1):
            store = new_store()
            for step, write in enumerate(order):
                store = heir_of(store) if step == handover else store
                write(store)
            assert not store.knows("s")
            assert store.kept_bytes == 0
            for token in (T1, T2):
                with pytest.raises(ClaimRefused):
                    store.claim("s", token, ORIGIN, T3, 1.0, orphaned=False)


def test_an_end_that_a_successor_hears_first_holds_against_what_is_handed_over() -> None:
    store, successor = new_store(), new_store()
    store.park("s", title(), parked(), 0)
    successor.forget("s", title(serial=2), 0)
    for portion in store.portions(0, 10_000):
        successor.adopt(portion, 0)
    assert not successor.knows("s")
    successor.hold("late", title(T2), 0)
    store.forget("late", title(T2), 0)
    for portion in store.portions(0, 10_000):
        successor.adopt(portion, 0)
    assert not successor.knows("late"), "written at the one after it ended at the other"


def test_who_lost_the_session_to_another_cannot_end_it_even_in_a_new_store() -> None:
    store = new_store()
    store.forget("s", title(T1, serial=99), 0)  # of the connection before
    store.hold("s", title(T2, claims=1), 0)
    assert store.knows("s")
    store.forget("s", title(T1, serial=100), 0)
    assert store.knows("s")


def test_ends_are_kept_for_a_while_and_in_number() -> None:
    store = new_store()
    for n in range(10_000):
        store.forget(f"s{n}", title(hash_token(str(n))), 0)
    assert len(store._ends) == 3
    store.hold("s9999", title(hash_token("9999")), 59.9)
    assert not store.knows("s9999")
    store.expire(60)
    assert len(store._ends) == 0
    store.hold("s9999", title(hash_token("9999")), 60)
    assert store.knows("s9999"), "such a late one is there until nobody renews it"
    store.expire(120)
    assert (store.held, store.kept_bytes) == (0, 0)
