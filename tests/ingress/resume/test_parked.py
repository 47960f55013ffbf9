"""What is kept of a session: tokens, the ring, the newest result."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.resume.parked import (
    ControlRing,
    Parked,
    hash_token,
    new_token,
)
from tests.ingress.titles import ORIGIN, T1, T2, T3, T4, numbered, parked, title

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
    small, wide = numbered(1).size_bytes, numbered(6, "\u20ac" * 300)
    assert wide.size_bytes > 600, "two bytes of memory each"
    ring = ControlRing(max_messages=3, max_bytes=wide.size_bytes + small)
    for seq in range(1, 6):
        ring.append(numbered(seq))
    assert [message.seq for message in ring] == [3, 4, 5]
    ring.append(wide)
    kept = ([message.seq for message in ring], ring.size_bytes)
    assert kept == ([5, 6], small + wide.size_bytes)
    ring.append(numbered(7, "\U0001f600" * 300))
    assert ([message.seq for message in ring], ring.size_bytes, ring.newest) == ([], 0, 7)


def test_a_ring_goes_on_where_a_parked_one_ended() -> None:
    ring = ControlRing(3, 1000)
    ring.restore([numbered(4), numbered(5)], 5)
    ring.append(numbered(6))
    assert [message.seq for message in ring] == [4, 5, 6]
    empty = ControlRing(3, 100)
    empty.restore([], 9)
    assert empty.newest == 9


@given(sizes=st.lists(st.integers(0, 12), max_size=30), last=st.integers(0, 40))
def test_what_follows_is_whole_or_none(sizes: list[int], last: int) -> None:
    ring = ControlRing(5, 3 * numbered(1).size_bytes)
    for seq, size in enumerate(sizes, 1):
        ring.append(numbered(seq, "x" * size))
        assert ring.size_bytes <= 3 * numbered(1).size_bytes
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
