"""Waiting frames and credit: bounded, newest first to stay, nothing lost unsaid."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingress.session.mailbox import AckAhead, CreditWindow, Mailbox, Waiting
from ingress.wire.pictures import Frame


def waiting(seq: int, received_at: float = 0.0, size: int = 1) -> Waiting:
    return Waiting(Frame(seq, 0, 0, b"x" * size), received_at)


def seqs(items: list[Waiting]) -> list[int]:
    return [item.frame.seq for item in items]


def test_an_empty_mailbox_gives_nothing() -> None:
    assert Mailbox().take() is None
    assert Mailbox().clear() == []


def test_frames_leave_in_the_order_they_came() -> None:
    box = Mailbox()
    for seq in (1, 2, 3):
        assert box.put(waiting(seq), room=3) == []
    assert [box.take(), box.take()] == [waiting(1), waiting(2)]


def test_the_newest_frame_wins_and_the_displaced_are_returned() -> None:
    box = Mailbox()
    box.put(waiting(1), room=1)
    assert seqs(box.put(waiting(2), room=1)) == [1]
    assert box.take() == waiting(2)


def test_a_room_that_shrank_displaces_several_oldest_first() -> None:
    box = Mailbox()
    for seq in (1, 2, 3):
        box.put(waiting(seq), room=3)
    assert seqs(box.put(waiting(4), room=2)) == [1, 2]


def test_frames_that_came_before_a_moment_expire() -> None:
    box = Mailbox()
    for seq, at in ((1, 10.0), (2, 11.0), (3, 12.0)):
        box.put(waiting(seq, at), room=3)
    assert seqs(box.expired(before=11.0)) == [1]
    assert seqs(box.clear()) == [2, 3]
    assert len(box) == 0


def test_the_size_is_that_of_the_images() -> None:
    box = Mailbox()
    box.put(waiting(1, size=10), room=2)
    box.put(waiting(2, size=5), room=2)
    assert box.size_bytes == 15


def test_an_ack_frees_everything_up_to_it() -> None:
    credit = CreditWindow(2)
    for _ in range(2):
        credit.reserve()
    assert [credit.emit(), credit.emit()] == [1, 2]
    assert credit.available == 0
    assert credit.ack(2)
    assert credit.available == 2


def test_an_ack_of_old_frees_nothing_and_takes_nothing_back() -> None:
    credit = CreditWindow(2)
    credit.reserve()
    credit.emit()
    credit.ack(1)
    assert not credit.ack(0)
    assert not credit.ack(1)
    assert (credit.acked_seq, credit.available) == (1, 2)


def test_an_ack_ahead_of_what_was_sent_is_refused_and_changes_nothing() -> None:
    credit = CreditWindow(2)
    credit.reserve()
    credit.emit()
    with pytest.raises(AckAhead, match="ack: 2 is ahead of the newest result, 1"):
        credit.ack(2)
    assert credit.unacked == 1


def test_a_frame_without_a_result_gives_its_place_back() -> None:
    credit = CreditWindow(1)
    credit.reserve()
    credit.release()
    assert (credit.available, credit.sent_seq) == (1, 0)


class Flow(RuleBasedStateMachine):
    """Frames through a mailbox and a credit window, in any order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.box, self.credit = Mailbox(), CreditWindow(3)
        self.put = self.ended = self.under_way = 0
        self.clock = 0.0

    @rule(room=st.integers(1, 4))
    def frame_comes(self, room: int) -> None:
        self.put += 1
        self.clock += 1.0
        self.ended += len(self.box.put(waiting(self.put, self.clock), room))
        assert len(self.box) <= room

    @precondition(lambda self: self.credit.available > 0 and len(self.box) > 0)
    @rule()
    def call_takes_the_oldest(self) -> None:
        taken = self.box.take()
        assert taken is not None
        assert taken.frame.seq == self.put - len(self.box)
        self.credit.reserve()
        self.under_way += 1

    @precondition(lambda self: self.under_way > 0)
    @rule(answered=st.booleans())
    def call_returns(self, answered: bool) -> None:
        self.under_way -= 1
        self.ended += 1
        if answered:
            before = self.credit.sent_seq
            assert self.credit.emit() == before + 1
        else:
            self.credit.release()

    @rule(age=st.floats(0, 10))
    def time_passes(self, age: float) -> None:
        gone = self.box.expired(self.clock - age)
        assert all(item.received_at < self.clock - age for item in gone)
        self.ended += len(gone)

    @rule(seq=st.integers(0, 20))
    def client_acknowledges(self, seq: int) -> None:
        if seq > self.credit.sent_seq:
            with pytest.raises(AckAhead):
                self.credit.ack(seq)
        else:
            self.credit.ack(seq)
            assert self.credit.acked_seq >= seq

    @invariant()
    def every_frame_is_waiting_under_way_or_ended(self) -> None:
        assert self.put == len(self.box) + self.under_way + self.ended

    @invariant()
    def places_are_never_overdrawn(self) -> None:
        assert 0 <= self.credit.available <= self.credit.limit
        assert self.credit.outstanding == self.under_way + self.credit.unacked


TestFlow = Flow.TestCase
