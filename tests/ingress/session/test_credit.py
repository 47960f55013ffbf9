"""Credit: places are never overdrawn, and who waits for one is told of each that is free again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingress.session.credit import AckAhead, Credit


def frees(told: list[int] | None = None) -> Callable[[], None]:
    """An ``on_free`` that counts."""
    return lambda: (told if told is not None else []).append(1)


def test_an_ack_frees_everything_up_to_it() -> None:
    credit = Credit(2, frees())
    for _ in range(2):
        credit.reserve()
    assert [credit.emit(), credit.emit()] == [1, 2]
    assert credit.available == 0
    credit.ack(2)
    assert credit.available == 2


def test_an_ack_of_old_frees_nothing_and_takes_nothing_back() -> None:
    credit = Credit(2, frees())
    credit.reserve()
    credit.emit()
    credit.ack(1)
    credit.ack(0)
    credit.ack(1)
    assert (credit.acked_seq, credit.available) == (1, 2)


def test_an_ack_ahead_of_what_was_sent_is_refused_and_changes_nothing() -> None:
    credit = Credit(2, frees())
    credit.reserve()
    credit.emit()
    with pytest.raises(AckAhead, match="ack: 2 is ahead of the newest result, 1"):
        credit.ack(2)
    assert credit.unacked == 1


def test_a_frame_without_a_result_gives_its_place_back() -> None:
    credit = Credit(1, frees())
    credit.reserve()
    credit.release()
    assert (credit.available, credit.sent_seq) == (1, 0)


def test_each_place_that_is_free_again_is_told_once() -> None:
    told: list[int] = []
    credit = Credit(3, frees(told))
    for _ in range(3):
        credit.reserve()
    credit.emit()
    assert told == [], "an unacknowledged result keeps its place"
    credit.release()
    assert len(told) == 1
    credit.ack(1)
    credit.ack(1)
    assert len(told) == 2


def test_a_session_that_resumes_goes_on_with_its_numbers() -> None:
    credit = Credit(3, frees())
    credit.restore(7, 6)
    assert (credit.available, credit.unacked) == (2, 1)
    credit.reserve()
    assert credit.emit() == 8


class Flow(RuleBasedStateMachine):
    """Frames past the credit, in any order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []
        self.credit = Credit(3, frees(self.told))
        self.under_way = 0

    @precondition(lambda self: self.credit.available > 0)
    @rule()
    def call_takes_a_frame(self) -> None:
        self.credit.reserve()
        self.under_way += 1

    @precondition(lambda self: self.under_way > 0)
    @rule(answered=st.booleans())
    def call_returns(self, answered: bool) -> None:
        self.under_way -= 1
        before, told = self.credit.sent_seq, len(self.told)
        if answered:
            assert self.credit.emit() == before + 1
        else:
            self.credit.release()
        assert len(self.told) == told + (not answered)

    @rule(seq=st.integers(0, 20))
    def client_acknowledges(self, seq: int) -> None:
        if seq > self.credit.sent_seq:
            with pytest.raises(AckAhead):
                self.credit.ack(seq)
        else:
            self.credit.ack(seq)
            assert self.credit.acked_seq >= seq

    @invariant()
    def places_are_never_overdrawn(self) -> None:
        assert 0 <= self.credit.available <= self.credit.limit
        assert self.credit.outstanding == self.under_way + self.credit.unacked


TestFlow = Flow.TestCase
