"""The client's books: one outcome for each frame, whatever the server says."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from client.ledger import Ledger
from client.outcomes import Dropped, Failed, Outcome
from ingress.wire.pictures import Result, ResultMeta
from ingress.wire.words import DropCause, ErrorCode

META = ResultMeta(
    mode="person", width=1, height=1, media_type="", stages_ms={}, batch=1, classes=()
)


def result(seq: int, frame_seq: int) -> Result:
    return Result(seq, frame_seq, 0, META, b"")


def drain(ledger: Ledger) -> list[Outcome]:
    taken = []
    while (outcome := ledger.take()) is not None:
        taken.append(outcome)
    return taken


def test_a_place_is_taken_until_the_outcome_is_read() -> None:
    ledger = Ledger(1)
    seq = ledger.open()
    assert not ledger.has_room
    ledger.on_result(result(1, seq))
    assert not ledger.has_room
    assert ledger.take() == result(1, seq)
    assert ledger.has_room


def test_the_first_outcome_counts_and_strangers_are_ignored() -> None:
    ledger = Ledger(2)
    seq = ledger.open()
    ledger.on_dropped([seq, 99], DropCause.STALE)
    ledger.on_error(seq, ErrorCode.FRAME_REJECTED, "late")
    ledger.on_result(result(1, seq))
    assert drain(ledger) == [Dropped(seq, DropCause.STALE)]


def test_what_is_unanswered_at_the_end_is_dropped_as_closed() -> None:
    ledger = Ledger(2)
    first, second = ledger.open(), ledger.open()
    ledger.on_result(result(1, first))
    ledger.on_closed()
    assert drain(ledger) == [result(1, first), Dropped(second, "closed")]
    assert ledger.is_settled


def test_an_outcome_with_a_taker_of_its_own_goes_there_alone() -> None:
    ledger, delivered = Ledger(1), list[Outcome]()
    seq = ledger.open(delivered.append)
    ledger.on_result(result(1, seq))
    assert delivered == [result(1, seq)]
    assert ledger.take() is None
    assert ledger.has_room


def test_errors_about_no_frame_are_kept_but_only_the_newest() -> None:
    ledger = Ledger(1)
    for number in range(100):
        ledger.on_error(None, ErrorCode.RATE_LIMITED, str(number))
    kept = [outcome.message for outcome in drain(ledger) if isinstance(outcome, Failed)]
    assert kept == [str(number) for number in range(84, 100)]


def test_half_of_the_credit_owed_makes_an_ack_urgent() -> None:
    ledger = Ledger(4)
    for seq in (1, 2):
        ledger.open()
        assert not ledger.ack_is_urgent
        ledger.on_result(result(seq, seq))
    assert ledger.ack_is_urgent
    assert ledger.acknowledge() == 2
    assert not ledger.ack_is_urgent


class Books(RuleBasedStateMachine):
    """Every frame ends in one outcome, in any order of what a server may say."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(3)
        self.sent: list[int] = []
        self.ended: list[int] = []
        self.results = 0

    @precondition(lambda self: self.ledger.has_room)
    @rule()
    def send(self) -> None:
        self.sent.append(self.ledger.open())

    @rule(seq=st.integers(0, 12))
    def answer(self, seq: int) -> None:
        self.results += 1
        self.ledger.on_result(result(self.results, seq))

    @rule(seq=st.integers(0, 12))
    def refuse(self, seq: int) -> None:
        self.ledger.on_error(seq, ErrorCode.FRAME_REJECTED, "no")

    @rule(frames=st.lists(st.integers(0, 12)))
    def drop(self, frames: list[int]) -> None:
        self.ledger.on_dropped(frames, DropCause.SUPERSEDED)

    @rule()
    def lose(self) -> None:
        self.ledger.on_closed()

    @rule()
    def read(self) -> None:
        outcome = self.ledger.take()
        if outcome is not None:
            assert outcome.frame_seq is not None
            self.ended.append(outcome.frame_seq)

    @rule()
    def acknowledge(self) -> None:
        assert self.ledger.acknowledge() == self.results

    @invariant()
    def no_frame_ends_twice_and_none_is_lost(self) -> None:
        assert len(set(self.ended)) == len(self.ended)
        assert set(self.ended) <= set(self.sent)
        assert self.ledger.is_settled == (len(self.ended) == len(self.sent))

    @invariant()
    def the_books_are_bounded(self) -> None:
        assert len(self.sent) - len(self.ended) <= 3


TestBooks = Books.TestCase
