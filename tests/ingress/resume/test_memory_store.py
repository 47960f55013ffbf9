"""Who may have a session back, and that the store never grows without bound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import (
    Claim,
    ClaimRefused,
    Parked,
    Renewal,
    hash_token,
)
from tests.ingress.titles import ORIGIN, T1, T2, T3, T4, counted, numbered, parked, title

BIG = Parked(control=(numbered(1, "x" * 50_000),), control_seq=1)
BIG_BYTES = BIG.size_bytes


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ttl_s=60, max_parked=3, max_parked_bytes=1_000_000)


def claim(
    store: MemoryStore, token: bytes, new: bytes, now: float, *, orphaned: bool = False
) -> Claim:
    return store.claim("s", token, ORIGIN, new, now, orphaned=orphaned)


def test_a_parked_session_goes_to_who_has_its_token_and_only_once(store: MemoryStore) -> None:
    store.hold("s", title(), 0)
    store.park("s", title(serial=2), parked(), 1)
    assert (store.held, store.parked) == (0, 1)
    got = claim(store, T1, T2, 2)
    assert (got.held, got.title.tokens) == (False, (T2, T1))
    assert got.parked == parked().aged(1)
    assert (store.held, store.parked) == (1, 0)
    assert claim(store, T1, T3, 3).held, "another connection has it now"


@pytest.mark.parametrize("why", ["unknown", "token", "origin", "expired"])
def test_all_refusals_are_one(store: MemoryStore, why: str) -> None:
    if why != "unknown":
        store.park("s", title(), parked(), 0)
    with pytest.raises(ClaimRefused) as refused:
        store.claim(
            "s",
            T2 if why == "token" else T1,
            "https://evil.example" if why == "origin" else ORIGIN,
            T3,
            61 if why == "expired" else 1,
            orphaned=False,
        )
    assert str(refused.value) == "the session is not there any more; a new one was started"
    if why in ("token", "origin"):
        assert claim(store, T1, T2, 2).parked is not None, "a stranger changes nothing"


def test_a_session_whose_replica_died_has_its_settings_left(store: MemoryStore) -> None:
    store.hold("s", title(mode="parts"), 0)
    assert claim(store, T1, T2, 1) == Claim(title(mode="parts"), held=True)
    got = claim(store, T1, T2, 1, orphaned=True)
    assert (got.parked, got.title.settings.mode) == (None, "parts")


def test_a_connection_lost_before_it_confirmed_costs_nothing(store: MemoryStore) -> None:
    store.park("s", title(), parked(), 0)
    first = claim(store, T1, T2, 0.25)
    store.hold("s", replace(first.title, serial=first.title.serial + 1), 0.5)  # not confirmed
    again = claim(store, T1, T3, 1, orphaned=True)
    assert again.parked == parked().aged(1)


def test_a_confirmed_token_voids_those_before_and_what_was_parked(store: MemoryStore) -> None:
    store.park("s", title(), parked(), 0)
    claim(store, T1, T2, 0)
    store.hold("s", title(T2, serial=9), 1)
    with pytest.raises(ClaimRefused):
        claim(store, T1, T3, 2)
    assert store._held["s"].parked is None
    assert claim(store, T2, T3, 2, orphaned=True).parked is None


def test_a_write_that_arrives_late_is_ignored(store: MemoryStore) -> None:
    store.hold("s", title(serial=1), 0)
    store.park("s", title(serial=3), parked(), 1)
    store.hold("s", title(serial=2, mode="parts"), 2)
    assert (store.held, store.parked) == (0, 1)
    assert claim(store, T1, T2, 3).title.settings.mode == "person"


def test_a_replica_that_lost_the_session_changes_nothing(store: MemoryStore) -> None:
    store.hold("s", title(serial=5), 0)
    claim(store, T1, T2, 1, orphaned=True)
    store.hold("s", title(serial=99, mode="parts"), 2)
    store.park("s", title(serial=100, mode="parts"), parked(), 2)
    store.forget("s", title(serial=101), 2)
    assert store.knows("s")
    assert claim(store, T2, T3, 3, orphaned=True).title.settings.mode == "person"


def test_a_session_that_ended_for_good_is_gone(store: MemoryStore) -> None:
    store.hold("s", title(), 0)
    store.forget("s", title(), 0)
    assert not store.knows("s")


def test_held_sessions_live_by_renewal(store: MemoryStore) -> None:
    store.hold("s", title(), 0)
    for now in range(0, 300, 50):
        assert store.renew({T1: "s"}, now).unknown == frozenset()
    store.expire(250 + 59.9)
    assert store.knows("s")
    store.expire(250 + 60)
    assert store.renew({T1: "s"}, 311).unknown == {T1}


def test_a_renewal_tells_what_was_taken_over(store: MemoryStore) -> None:
    store.hold("s", title(), 0)
    claim(store, T1, T2, 1, orphaned=True)
    renewal = store.renew({T1: "s", T3: "never"}, 2)
    assert renewal == Renewal(unknown=frozenset({T3}), taken=frozenset({T1}))


def test_a_renewal_keeps_no_parked_session(store: MemoryStore) -> None:
    store.park("s", title(), parked(), 0)
    store.renew({T1: "s"}, 59)
    store.expire(60)
    assert not store.knows("s")


def test_the_oldest_parked_leave_at_the_bound_of_number(store: MemoryStore) -> None:
    for n in range(5):
        store.park(f"s{n}", title(hash_token(str(n))), parked(), n)
    assert [store.knows(f"s{n}") for n in range(5)] == [False, False, True, True, True]


def test_the_oldest_parked_leave_at_the_bound_of_bytes() -> None:
    store = MemoryStore(ttl_s=60, max_parked=99, max_parked_bytes=2 * BIG_BYTES + 9000)
    for n in range(5):
        store.park(f"s{n}", title(hash_token(str(n))), BIG, n)
        assert store.kept_bytes <= 2 * BIG_BYTES + 9000
    assert [store.knows(f"s{n}") for n in range(5)] == [False, False, False, True, True]
    huge = replace(BIG, control=(numbered(1, "x" * 3 * BIG_BYTES),))
    store.park("huge", title(), huge, 6)
    assert (store.parked, store.kept_bytes) == (0, 0), "not even one that is too big alone"


def heir(store: MemoryStore, now: float, max_bytes: int = 1) -> MemoryStore:
    """A store that took everything over, a portion at a time, on a clock of its own."""
    successor = MemoryStore(ttl_s=60, max_parked=3, max_parked_bytes=1_000_000)
    for portion in store.portions(now, max_bytes):
        successor.adopt(portion, 7000)
    return successor


def test_a_successor_has_everything_under_its_own_clock(store: MemoryStore) -> None:
    store.hold("held", title(T2), 0)
    store.park("s", title(), parked(age_s=0.5), 1)
    successor = heir(store, now=2)
    assert (successor.held, successor.parked) == (1, 1)
    got = claim(successor, T1, T3, 7000.25)
    assert got.parked == parked(age_s=0.5).aged(1.25)
    assert successor.renew({T2: "held"}, 7000).unknown == frozenset()


def test_what_a_successor_was_told_itself_is_newer(store: MemoryStore) -> None:
    store.hold("s", title(mode="parts"), 0)
    successor = MemoryStore(ttl_s=60, max_parked=3, max_parked_bytes=1_000_000)
    successor.hold("s", title(serial=2, mode="salient"), 6999)
    for portion in store.portions(1, 10_000):
        successor.adopt(portion, 7000)
    assert claim(successor, T1, T2, 7001, orphaned=True).title.settings.mode == "salient"


def test_portions_are_of_about_the_size_asked_for(store: MemoryStore) -> None:
    for n in range(3):
        store.park(f"s{n}", title(hash_token(str(n))), BIG, n)

    def sizes(max_bytes: int) -> Iterator[int]:
        return (len(portion) for portion in store.portions(3, max_bytes))

    assert list(sizes(1)) == [1, 1, 1]
    assert list(sizes(BIG_BYTES + 9000)) == [2, 1]
    assert list(sizes(10**9)) == [3]
    assert list(MemoryStore(ttl_s=1, max_parked=1, max_parked_bytes=1).portions(0, 1)) == []


def test_many_small_ones_are_handed_over_so_many_at_a_time() -> None:
    store = MemoryStore(ttl_s=60, max_parked=999, max_parked_bytes=10**9)
    for n in range(600):
        store.hold(f"s{n}", title(hash_token(str(n))), 0)
        store.forget(f"e{n}", title(hash_token(f"e{n}")), 0)
    assert max(len(portion) for portion in store.portions(0, 10**9)) == 256
    assert sum(len(portion) for portion in store.portions(0, 10**9)) == 1200


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "park", "claim", "forget", "renew", "wait"]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(1, 6),
    ),
    max_size=60,
)


@given(acts=ACTS)
def test_the_store_is_bounded_and_its_count_is_right_whatever_is_asked(
    acts: list[tuple[str, int, int, int]],
) -> None:
    store = MemoryStore(ttl_s=10, max_parked=2, max_parked_bytes=9000)
    tokens, now = (T1, T2, T3, T4), 0.0
    for act, who, token, n in acts:
        name, owner = f"s{who}", title(tokens[token], serial=n, address=f"10.0.0.{token % 2}")
        match act:
            case "hold":
                store.hold(name, owner, now)
            case "park":
                store.park(name, owner, parked(n, control=n), now)
            case "claim":
                with contextlib.suppress(ClaimRefused):
                    store.claim(name, tokens[token], ORIGIN, tokens[n % 4], now, orphaned=n > 3)
            case "forget":
                store.forget(name, owner, now)
            case "renew":
                store.renew({tokens[token]: name}, now)
            case "wait":
                now += n
                store.expire(now)
        assert store.kept_bytes == counted(store) <= 9000
        assert store.parked <= 2
        assert not store._held.keys() & store._parked.keys()
    store.expire(now + 10)
    assert (store.held, store.parked, store.kept_bytes) == (0, 0, 0)


def test_a_store_says_whether_it_keeps_what_it_was_left(store: MemoryStore) -> None:
    store.hold("s", title(), 0)
    assert store.park("s", title(serial=2), parked(), 0)
    assert not store.park("s", title(serial=2), parked(), 0), "it came late"
    claim(store, T1, T2, 1)
    assert not store.park("s", title(serial=9), parked(), 1), "the session was taken over"
    small = MemoryStore(ttl_s=60, max_parked=3, max_parked_bytes=100)
    assert not small.park("s", title(), parked(), 0), "there is no room for it"
