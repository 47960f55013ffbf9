"""The stream of frames of one session, from arrival to answer.

``arrive`` puts a frame in the mailbox; a dispatcher ``take``s it when a call
starts and credit allows; ``land`` brings its outcome back, and answers leave in
the order in which their frames were taken. Every frame that arrived ends in
exactly one of ``result``, ``error`` and ``dropped``, and is counted there.

``end`` says what a resume needs to know of the frames; ``resume`` goes on from it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from ingress.dispatch.dispatcher import AnalysisFailed, Flight
from ingress.resume.parked import NewestResult, Parked
from ingress.service import Service
from ingress.session.dialects import Voice
from ingress.session.figures import Figures
from ingress.session.mailbox import CreditWindow, Mailbox, Waiting
from ingress.session.outbox import Outbox
from ingress.wire.pictures import Frame
from ingress.wire.text import encode_text
from ingress.wire.words import DropCause, ErrorCode
from models.view import View
from models.work import FrameFailure, FrameRequest, FrameResult


class Stream:
    """The frames of one session; a ``Source`` for the dispatcher of its mode."""

    def __init__(self, service: Service, voice: Voice, outbox: Outbox, figures: Figures) -> None:
        limits = service.settings.limits
        self.mode = service.settings.default_mode
        self.view = View()
        self.masks: deque[tuple[float, bytes]] = deque(maxlen=limits.scene_masks)
        self._service = service
        self._voice = voice
        self._outbox = outbox
        self._figures = figures
        self._limit = limits.max_in_flight
        if voice.answers_in_order:
            self._limit = limits.plain_in_flight
        self.window = CreditWindow(self._limit)
        self._mailbox = Mailbox()
        self._flights: deque[Flight] = deque()
        self._unacked: deque[tuple[int, int]] = deque()
        self._newest: tuple[int, int, bytes, float] | None = None
        self._ended = False

    @property
    def size_bytes(self) -> int:
        """Held: pictures that wait or are under way, and the newest result."""
        result = len(self._newest[2]) if self._newest else 0
        frames = sum(len(flight.frame.image) for flight in self._flights)
        return self._mailbox.size_bytes + frames + result

    @property
    def credit_exhausted(self) -> bool:
        """Whether the client has left every result that it may have unacknowledged."""
        return not self._voice.answers_in_order and self.window.unacked >= self._limit

    @property
    def is_ready(self) -> bool:
        return len(self._mailbox) > 0 and self.window.available > 0 and not self._ended

    def arrive(self, frame: Frame) -> None:
        """A frame came in: the newest of the session."""
        now = asyncio.get_running_loop().time()
        self._figures.arrived(now)
        room = self._voice.waiting_room(self._limit, self.window.outstanding)
        cause = DropCause.SUPERSEDED if self.window.available > 0 else DropCause.NO_CREDIT
        for displaced in self._mailbox.put(Waiting(frame, now), room):
            self._drop(displaced.frame, cause, self.mode)
        self._offer()

    def reject(self, frame: Frame, why: str) -> None:
        """A frame came in that will not be looked at."""
        self._figures.arrived(asyncio.get_running_loop().time())
        self._count_error(self.mode)
        self._outbox.put_control(self._voice.failure(frame, ErrorCode.FRAME_REJECTED, why))

    def take(self) -> Flight | None:
        now = asyncio.get_running_loop().time()
        for stale in self._mailbox.expired(now - self._service.settings.limits.max_frame_age_s):
            self._drop(stale.frame, DropCause.STALE, self.mode)
        waiting = self._next()
        if waiting is None:
            return None
        self.window.reserve()
        request = FrameRequest(waiting.frame.image, self.view)
        flight = Flight(self, waiting.frame, request, self.mode, waiting.received_at, now)
        self._flights.append(flight)
        return flight

    def _next(self) -> Waiting | None:
        """The frame to analyze: the oldest where all are answered, else the newest.

        Older ones are let go only now. Had the newer frame displaced them on arrival, a client
        that sends the next frame as soon as one is dropped would spin.
        """
        if self._voice.answers_in_order:
            return self._mailbox.take()
        newest, older = self._mailbox.take_newest()
        for superseded in older:
            self._drop(superseded.frame, DropCause.SUPERSEDED, self.mode)
        return newest

    def land(self, flight: Flight) -> None:
        if self._ended:
            return
        while self._flights and self._flights[0].outcome is not None:
            self._answer(self._flights.popleft())
        self._offer()

    def acknowledge(self, seq: int) -> None:
        """Results up to ``seq`` are with the client; raises AckAhead."""
        if self.window.ack(seq):
            while self._unacked and self._unacked[0][0] <= seq:
                self._unacked.popleft()
            self._offer()

    def sent_one(self) -> None:
        """A result left; in a dialect without acknowledgements that frees its place."""
        if self._voice.answers_in_order:
            self.acknowledge(self.window.acked_seq + 1)

    def switch(self, mode: str) -> None:
        """Frames that wait now, and all later ones, go to ``mode``."""
        if mode == self.mode:
            return
        self._service.dispatchers[self.mode].withdraw(self)
        self.mode = mode
        self.view = self.view.for_classes(len(self._service.modes[mode].labels))
        self.masks.clear()
        self._offer()

    def adopt(self, mode: str, view: View) -> None:
        """Begin with these, before the first frame; a mode that is no more is not taken."""
        if mode in self._service.modes:
            self.mode = mode
        self.view = view.for_classes(len(self._service.modes[self.mode].labels))

    def end(self) -> Parked:
        """The connection has ended: what is not answered yet is dropped, for a resume to tell."""
        self._ended = True
        self._service.dispatchers[self.mode].withdraw(self)
        for flight in self._flights:
            self._drop(flight.frame, DropCause.DISCONNECTED, flight.mode)
        for waiting in self._mailbox.clear():
            self._drop(waiting.frame, DropCause.DISCONNECTED, self.mode)
        for mode in {flight.mode for flight in self._flights}:
            self._service.dispatchers[mode].abandon([f for f in self._flights if f.mode == mode])
        self._flights.clear()
        newest, self._newest = self._newest_result(), None
        return Parked(
            result_seq=self.window.sent_seq,
            unacked=tuple(self._unacked),
            newest=newest,
        )

    def resume(self, parked: Parked, last_seq: int, replayed: NewestResult | None) -> None:
        """Go on where a parked session ended; ``replayed`` is sent again.

        Results that were lost can never be acknowledged, so they hold no credit.
        """
        acked = parked.result_seq if replayed is None else replayed.seq - 1
        self.window = CreditWindow(self._limit, parked.result_seq, acked)
        if replayed is not None:
            made_at = asyncio.get_running_loop().time() - replayed.age_s
            self._newest = (replayed.seq, replayed.frame_seq, replayed.message, made_at)
            self._unacked.append((replayed.seq, replayed.frame_seq))
            self._outbox.put_result(self._voice.result_type, replayed.message)
        for frame_seq in parked.undelivered(last_seq, replayed):
            self._outbox.put_dropped(frame_seq, DropCause.DISCONNECTED)

    def _newest_result(self) -> NewestResult | None:
        if self._newest is None:
            return None
        seq, frame_seq, message, made_at = self._newest
        return NewestResult(seq, frame_seq, message, asyncio.get_running_loop().time() - made_at)

    def _offer(self) -> None:
        if self.is_ready:
            self._service.dispatchers[self.mode].offer(self)

    def _answer(self, flight: Flight) -> None:
        match flight.outcome:
            case FrameResult() as result:
                self._answer_result(flight, result)
            case FrameFailure(code, message):
                self._answer_failure(flight, ErrorCode(code), message)
            case AnalysisFailed(unavailable=True):
                self.window.release()
                self._drop(flight.frame, DropCause.MODE_UNAVAILABLE, flight.mode)
            case _:
                why = "the model failed on this frame; the next one may succeed"
                self._answer_failure(flight, ErrorCode.INFERENCE_FAILED, why)

    def _answer_result(self, flight: Flight, result: FrameResult) -> None:
        metrics, mode = self._service.metrics, flight.mode
        stages = {"queue": flight.queue_ms, **result.stages_ms, "total": flight.total_ms}
        self._figures.answered(flight.landed_at, stages)
        metrics.frames.labels(mode, "result").inc()
        metrics.frame_age.labels(mode).observe(flight.total_ms / 1000)
        metrics.frame_latency.labels(mode, "queue").observe(flight.queue_ms / 1000)
        metrics.frame_latency.labels(mode, "call").observe(flight.call_ms / 1000)
        if mode == self.mode:
            self._remember_mask(flight.received_at, result.thumbnail)
        info = self._service.modes[mode]
        seq = self.window.emit()
        message = self._voice.result(seq, flight, result, info, self._figures)
        self._outbox.put_result(self._voice.result_type, message)
        if isinstance(message, bytes):  # v1, whose sessions can be resumed
            self._unacked.append((seq, flight.frame.seq))
            self._newest = (seq, flight.frame.seq, message, flight.landed_at)

    def _answer_failure(self, flight: Flight, code: ErrorCode, why: str) -> None:
        self._count_error(flight.mode)
        error = self._voice.failure(flight.frame, code, why)
        if self._voice.answers_in_order:
            self.window.emit()
            self._outbox.put_result("error", encode_text(error))
        else:
            self.window.release()
            self._outbox.put_control(error)

    def _remember_mask(self, moment: float, thumbnail: bytes) -> None:
        oldest = moment - self._service.settings.limits.scene_window_s
        while self.masks and self.masks[0][0] < oldest:
            self.masks.popleft()
        self.masks.append((moment, thumbnail))

    def _count_error(self, mode: str) -> None:
        self._figures.errors += 1
        self._service.metrics.frames.labels(mode, "error").inc()

    def _drop(self, frame: Frame, cause: DropCause, mode: str) -> None:
        self._count_dropped(cause, mode)
        self._voice.dropped(frame, cause, self._outbox)

    def _count_dropped(self, cause: str, mode: str) -> None:
        self._figures.dropped[cause] += 1
        self._service.metrics.frames.labels(mode, "dropped").inc()
        self._service.metrics.frames_dropped.labels(cause).inc()
