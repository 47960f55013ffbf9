"""What is kept of a session, who may have it back, and that none of it grows without bound."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.resume import (
    Claim,
    ClaimRefused,
    ControlRing,
    MemoryStore,
    NewestResult,
    Numbered,
    Parked,
    Renewal,
    SessionSettings,
    Title,
    hash_token,
    new_token,
)
from models.view import View

SETTINGS = SessionSettings("person", View())
T1, T2, T3, T4 = (hash_token(name) for name in ("t1", "t2", "t3", "t4"))
ORIGIN = "https://page.example"


def title(*tokens: bytes, serial: int = 1, mode: str = "person") -> Title:
    return Title(tokens or (T1,), ORIGIN, SessionSettings(mode, View()), serial)


def numbered(seq: int, text: str = "x") -> Numbered:
    return Numbered(seq, "stats", text)


def parked(results: int = 3, *, age_s: float = 0.5, control: int = 2) -> Parked:
    return Parked(
        control=tuple(numbered(seq) for seq in range(1, control + 1)),
        control_seq=control,
        result_seq=results,
        frame_seq=10 + results,
        unacked=tuple((seq, 10 + seq) for seq in range(1, results + 1)),
        newest=NewestResult(results, 10 + results, b"picture", age_s),
    )


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ttl_s=60, max_parked=3, max_parked_bytes=1_000_000)


def claim(
    store: MemoryStore, token: bytes, new: bytes, now: float, *, orphaned: bool = False
) -> Claim:
    return store.claim("s", token, ORIGIN, new, now, orphaned=orphaned)


# ------------------------------------------------------------------ tokens


def test_tokens_are_256_bits_and_only_their_hash_is_kept() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= 43 for token in tokens)
    assert len(hash_token(tokens.pop())) == 32


def test_tokens_are_compared_in_constant_time_and_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, kept: bytes) -> bool:
        compared.append(kept)
        return given == kept

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert title(T1, T2).admits(T1, ORIGIN)
    assert compared == [T1, T2]


@pytest.mark.parametrize(
    ("token", "origin", "may"),
    [(T1, ORIGIN, True), (T2, ORIGIN, True), (T3, ORIGIN, False), (T1, None, False),
     (T1, "https://evil.example", False)],
)  # fmt: skip
def test_a_title_admits_its_tokens_from_its_origin(
    token: bytes, origin: str | None, may: bool
) -> None:
    assert title(T1, T2).admits(token, origin) is may


@pytest.mark.parametrize(
    ("tokens", "given_token", "after"),
    [
        ((T1,), T1, (T4, T1)),
        ((T2, T1), T2, (T4, T2)),  # the client has it, so the one before is void
        ((T2, T1), T1, (T4, T2, T1)),  # its client may have T2 all the same
    ],
)
def test_a_claim_rotates_the_token(
    tokens: tuple[bytes, ...], given_token: bytes, after: tuple[bytes, ...]
) -> None:
    rotated = title(*tokens).rotated(T4, given_token)
    assert (rotated.tokens, rotated.serial, rotated.confirmed) == (after, 2, False)


def test_tokens_that_nobody_confirms_do_not_pile_up() -> None:
    old = title(T1)
    for n in range(50):
        old = old.rotated(hash_token(str(n)), T1)
    assert len(old.tokens) == 4
    assert old.admits(T1, ORIGIN)


# ------------------------------------------------------------------ the ring


def test_the_ring_keeps_the_last_messages_within_both_bounds() -> None:
    ring = ControlRing(max_messages=3, max_bytes=10)
    for seq in range(1, 6):
        ring.append(numbered(seq))
    assert [message.seq for message in ring] == [3, 4, 5]
    ring.append(numbered(6, "\u20ac" * 3))  # nine bytes
    assert ([message.seq for message in ring], ring.size_bytes) == ([5, 6], 10)
    ring.append(numbered(7, "y" * 11))
    assert ([message.seq for message in ring], ring.size_bytes, ring.newest) == ([], 0, 7)


def test_a_ring_goes_on_where_a_parked_one_ended() -> None:
    ring = ControlRing(3, 100)
    ring.restore([numbered(4), numbered(5)], 5)
    ring.append(numbered(6))
    assert [message.seq for message in ring] == [4, 5, 6]
    empty = ControlRing(3, 100)
    empty.restore([], 9)
    assert empty.newest == 9


@given(sizes=st.lists(st.integers(0, 12), max_size=30), last=st.integers(0, 40))
def test_what_follows_is_whole_or_none(sizes: list[int], last: int) -> None:
    ring = ControlRing(5, 20)
    for seq, size in enumerate(sizes, 1):
        ring.append(numbered(seq, "x" * size))
        assert ring.size_bytes <= 20
    after = Parked(control=tuple(ring), control_seq=ring.newest).control_after(last)
    if after is not None:
        assert [message.seq for message in after] == list(range(last + 1, len(sizes) + 1))
    else:
        assert last > len(sizes) or len(sizes) - last > len(list(ring))


# ------------------------------------------------------------------ the stream


def test_only_a_newest_result_that_is_young_and_missing_is_sent_again() -> None:
    assert parked(3).young_result(2, 2.0) == parked(3).newest
    assert parked(3).young_result(3, 2.0) is None, "the client has it"
    assert parked(3, age_s=2.1).young_result(2, 2.0) is None
    assert parked(3, age_s=1.0).aged(1.5).young_result(2, 2.0) is None
    assert Parked().young_result(0, 2.0) is None


def test_results_that_were_lost_are_told_by_their_frames() -> None:
    record = parked(3)
    assert record.undelivered(0, record.newest) == (11, 12)
    assert record.undelivered(1, None) == (12, 13)
    assert record.undelivered(3, None) == ()


# ------------------------------------------------------------------ the store


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
    assert store.parked_bytes == 0
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
    store = MemoryStore(ttl_s=60, max_parked=99, max_parked_bytes=5000)
    big = Parked(control=(numbered(1, "\u20ac" * 400),), control_seq=1)  # 1200 bytes and 512
    for n in range(5):
        store.park(f"s{n}", title(hash_token(str(n))), big, n)
        assert store.parked_bytes <= 5000
    assert [store.knows(f"s{n}") for n in range(5)] == [False, False, False, True, True]
    store.park("huge", title(), replace(big, control=(numbered(1, "x" * 9000),)), 6)
    assert (store.parked, store.parked_bytes) == (0, 0), "not even one that is too big alone"


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
    big = Parked(control=(numbered(1, "x" * 1000),), control_seq=1)
    for n in range(3):
        store.park(f"s{n}", title(hash_token(str(n))), big, n)

    def sizes(max_bytes: int) -> Iterator[int]:
        return (len(portion) for portion in store.portions(3, max_bytes))

    assert list(sizes(1)) == [1, 1, 1]
    assert list(sizes(3000)) == [2, 1]
    assert list(sizes(10**9)) == [3]
    assert list(MemoryStore(ttl_s=1, max_parked=1, max_parked_bytes=1).portions(0, 1)) == []


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
    store = MemoryStore(ttl_s=10, max_parked=2, max_parked_bytes=5000)
    tokens, now = (T1, T2, T3, T4), 0.0
    for act, who, token, n in acts:
        name, owner = f"s{who}", title(tokens[token], serial=n)
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
        kept = [*store._held.values(), *store._parked.values()]
        assert store.parked_bytes == sum(r.parked.size_bytes for r in kept if r.parked)
        assert store.parked <= 2
        assert not store._held.keys() & store._parked.keys()
    store.expire(now + 10)
    assert (store.held, store.parked, store.parked_bytes) == (0, 0, 0)
