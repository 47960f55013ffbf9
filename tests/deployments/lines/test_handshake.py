"""Who gets through a handshake: who has the key, on this connection, on its own side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.lines.handshake import VERSION, Handshake, Key, Stranger

WORD_BYTES, HELLO_BYTES, PROOF_BYTES = 4, 36, 32


def feed(side: Handshake, stream: bytes) -> bytes:
    """What ``side`` writes behind its hello when ``stream`` comes, as far as it reads that."""
    said = b""
    while 0 < side.awaits <= len(stream):
        piece, stream = stream[: side.awaits], stream[side.awaits :]
        said += side.take(piece)
    return said


def meet(caller: Handshake, called: Handshake) -> tuple[bytes, bytes]:
    """All that each of the two says to the other."""
    by_caller, by_called = caller.hello, called.hello
    by_caller += feed(caller, by_called)
    by_called += feed(called, by_caller)
    feed(caller, by_called[HELLO_BYTES:])
    return by_caller, by_called


def test_two_sides_with_one_key_know_each_other() -> None:
    key = Key()
    caller, called = Handshake(key, calls=True), Handshake(key, calls=False)
    said = meet(caller, called)
    assert caller.awaits == called.awaits == 0
    assert [len(by) for by in said] == [HELLO_BYTES + PROOF_BYTES] * 2


def test_nothing_of_the_key_is_said() -> None:
    key = Key()
    by_caller, by_called = meet(Handshake(key, calls=True), Handshake(key, calls=False))
    assert key._secret not in by_caller + by_called
    assert len(key._secret) == 32


def test_a_key_is_never_shown_in_a_log() -> None:
    assert repr(Key()) == str(Key()) == "Key()"
    assert Key() != Key()


@pytest.mark.parametrize("calls", [True, False])
def test_who_has_another_key_is_a_stranger(calls: bool) -> None:
    side, other = Handshake(Key(), calls=calls), Handshake(Key(), calls=not calls)
    proof = feed(other, side.hello) or b"x" * PROOF_BYTES
    with pytest.raises(Stranger, match="has not the key"):
        feed(side, other.hello + proof)


def test_a_recording_gets_in_nowhere() -> None:
    key = Key()
    by_caller, by_called = meet(Handshake(key, calls=True), Handshake(key, calls=False))
    for said, calls in ((by_caller, False), (by_called, True)):
        with pytest.raises(Stranger, match="has not the key"):
            feed(Handshake(key, calls=calls), said)


def test_a_mirror_gets_in_nowhere() -> None:
    key = Key()
    caller = Handshake(key, calls=True)
    own = feed(caller, caller.hello)
    assert len(own) == PROOF_BYTES, "who calls proves first"
    with pytest.raises(Stranger, match="has not the key"):
        feed(caller, own)
    called = Handshake(key, calls=False)
    assert feed(called, called.hello) == b"", "who is called shows nothing that could be sent back"


def test_a_side_does_not_take_its_own_kind_for_the_other() -> None:
    key = Key()
    one, two = Handshake(key, calls=True), Handshake(key, calls=True)
    by_one = feed(one, two.hello)
    with pytest.raises(Stranger, match="has not the key"):
        feed(two, one.hello + by_one)


@pytest.mark.parametrize("calls", [True, False])
def test_another_version_is_told_by_four_bytes(calls: bool) -> None:
    side = Handshake(Key(), calls=calls)
    with pytest.raises(Stranger, match=f"version 99 of the lines, this side {VERSION}$"):
        side.take(b"SGL\x63")
    with pytest.raises(Stranger, match="does not speak as a replica does"):
        Handshake(Key(), calls=calls).take(b"GET ")


@given(st.booleans(), st.binary(max_size=200))
def test_who_sends_anything_else_is_a_stranger_or_waited_for(calls: bool, stream: bytes) -> None:
    for start in (b"", b"SGL" + bytes([VERSION])):
        side = Handshake(Key(), calls=calls)
        try:
            feed(side, start + stream)
        except Stranger:
            continue
        assert side.awaits in (WORD_BYTES, HELLO_BYTES - WORD_BYTES, PROOF_BYTES)
