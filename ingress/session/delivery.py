"""How the frames of one session are answered: results, errors and drops.

Rules
1. Every frame that arrived ends in exactly one of ``result``, ``error`` and ``dropped``,
   and is counted here.
2. Frames are answered in the order in which they were taken, however their calls end.
3. At the end of the connection whatever is not answered is dropped as ``disconnected``,
   told on resume; what a resume needs to know of the frames is ``end``'s to say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from ingress.dispatch.flight import AnalysisFailed, Flight
from ingress.resume.parked import NewestResult, Parked
from ingress.service import Service
from ingress.session.account import Account
from ingress.session.credit import Credit
from ingress.session.dialects import Voice
from ingress.session.outbox import Outbox
from ingress.session.scene import Scene
from ingress.session.watch import Watch
from ingress.wire.pictures import Frame, Result, encode_result
from ingress.wire.replies import Dropped
from ingress.wire.words import DropCause, ErrorCode
from models.work import FrameFailure, FrameResult


class _Newest(NamedTuple):
    """The last result that was made, and when, in seconds of the loop's clock.

    Bytes where it is replayed after a resume: the message that was made before the loss.
    """

    seq: int
    frame_seq: int
    result: Result | bytes
    made_at: float

    @property
    def size_bytes(self) -> int:
        return len(self.result.payload if isinstance(self.result, Result) else self.result)

    @property
    def message(self) -> bytes:
        return encode_result(self.result) if isinstance(self.result, Result) else self.result


class Delivery:
    """What goes out: the ``Landing`` of one session's frames."""

    def __init__(
        self,
        service: Service,
        voice: Voice,
        scene: Scene,
        credit: Credit,
        outbox: Outbox,
        watch: Watch,
        account: Account,
    ) -> None:
        self._service = service
        self._voice = voice
        self._scene = scene
        self._credit = credit
        self._outbox = outbox
        self._watch = watch
        self._account = account
        self._flights: deque[Flight] = deque()  # in the order in which they are answered
        self._unacked: deque[tuple[int, int]] = deque()
        self._newest: _Newest | None = None
        self._clock = asyncio.get_running_loop().time

    @property
    def size_bytes(self) -> int:
        """Held: pictures under way, and the newest result."""
        result = self._newest.size_bytes if self._newest else 0
        return result + sum(len(flight.frame.image) for flight in self._flights)

    def expect(self, flight: Flight) -> None:
        """A frame left the mailbox; its turn to be answered is after those before it."""
        self._flights.append(flight)

    def land(self, flight: Flight) -> None:
        if flight.abandoned:
            return
        while self._flights and self._flights[0].outcome is not None:
            self._answer(self._flights.popleft())

    def reject(self, frame: Frame, why: str) -> None:
        """Answer a frame that will not be looked at."""
        self._account.arrived()
        self._account.failed(self._scene.mode)
        self._outbox.put(self._voice.failure(frame, ErrorCode.FRAME_REJECTED, why))

    def drop(self, frame: Frame, cause: DropCause, mode: str) -> None:
        """Tell of a frame that was let go unanswered."""
        self._account.dropped(mode, cause)
        self._outbox.put(self._voice.dropped(frame, cause))

    def acknowledge(self, seq: int) -> None:
        """Results up to ``seq`` are with the client; raises AckAhead."""
        self._credit.ack(seq)
        while self._unacked and self._unacked[0][0] <= seq:
            self._unacked.popleft()
        self._watch_credit()

    def sent_one(self) -> None:
        """A result left; in a dialect without acknowledgements that frees its place."""
        if self._voice.acknowledged:
            self._watch_credit()
        else:
            self.acknowledge(self._credit.acked_seq + 1)

    def _watch_credit(self) -> None:
        """Whether the client has left every result that it may have unacknowledged."""
        exhausted = self._voice.acknowledged and self._credit.unacked >= self._credit.limit
        self._watch.credit(exhausted=exhausted)

    def end(self) -> Parked:
        """The connection has ended: what is not answered yet is dropped, for a resume to tell."""
        for flight in self._flights:
            self.drop(flight.frame, DropCause.DISCONNECTED, flight.mode)
        for mode in {flight.mode for flight in self._flights}:
            self._service.dispatchers[mode].abandon([f for f in self._flights if f.mode == mode])
        self._flights.clear()
        newest, self._newest = self._newest, None
        return Parked(
            result_seq=self._credit.sent_seq,
            unacked=tuple(self._unacked),
            newest=newest
            and NewestResult(
                newest.seq, newest.frame_seq, newest.message, self._clock() - newest.made_at
            ),
        )

    def resume(self, parked: Parked, last_seq: int, replayed: NewestResult | None) -> None:
        """Go on where a parked session ended; ``replayed`` is sent again.

        Results that were lost can never be acknowledged, so they hold no credit.
        """
        acked = parked.result_seq if replayed is None else replayed.seq - 1
        self._credit.restore(parked.result_seq, acked)
        if replayed is not None:
            made_at = self._clock() - replayed.age_s
            self._newest = _Newest(replayed.seq, replayed.frame_seq, replayed.message, made_at)
            self._unacked.append((replayed.seq, replayed.frame_seq))
            self._outbox.replay_result(replayed.message)
        lost = parked.undelivered(last_seq, replayed)
        if lost:
            self._outbox.put(Dropped(frames=lost, cause=DropCause.DISCONNECTED))

    def _answer(self, flight: Flight) -> None:
        match flight.outcome:
            case FrameResult() as result:
                self._answer_result(flight, result)
            case FrameFailure(code, message):
                self._answer_failure(flight, ErrorCode(code), message)
            case AnalysisFailed(unavailable=True):
                self.drop(flight.frame, DropCause.MODE_UNAVAILABLE, flight.mode)
                self._credit.release()
            case _:
                why = "the model failed on this frame; the next one may succeed"
                self._answer_failure(flight, ErrorCode.INFERENCE_FAILED, why)

    def _answer_result(self, flight: Flight, result: FrameResult) -> None:
        self._account.answered(flight, result)
        self._scene.remember(flight.mode, flight.received_at, result.thumbnail)
        seq = self._credit.emit()
        mode = self._service.modes[flight.mode]
        said = self._voice.result(seq, flight, result, mode, self._account.figures)
        self._outbox.put_result(said)
        if isinstance(said, Result):  # whose sessions can be resumed
            self._unacked.append((seq, said.frame_seq))
            self._newest = _Newest(seq, said.frame_seq, said, flight.landed_at)

    def _answer_failure(self, flight: Flight, code: ErrorCode, why: str) -> None:
        self._account.failed(flight.mode)
        error = self._voice.failure(flight.frame, code, why)
        if self._voice.answers_all:
            self._credit.emit()
            self._outbox.put_result(error)
        else:
            self._outbox.put(error)
            self._credit.release()
