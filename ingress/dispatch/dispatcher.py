"""Waiting sessions become batches: fair, fresh, and without a timer.

Rules
1. While the window (``ingress.dispatch.window``) has room for a call, whatever waits goes
   at once. At low load nothing waits; at high load frames gather while calls run,
   batches grow, and latency stays about one cycle.
2. One frame of each session per batch, and first those who had the fewest turns:
   equal clients get equal shares, whenever their frames come. A session that had
   nothing to send gains no claim by that (start-time fair queueing, Goyal 1996).
3. A session gives its frame when the call starts, not when it queues, so the
   frame is the newest one.
4. Every flight lands exactly once, whatever becomes of its call. A call whose
   sessions have all gone is cancelled.

One dispatcher serves one mode, so a slow mode never delays another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ingress.dispatch.flight import AnalysisFailed, Analyzer, Flight, Source
from ingress.dispatch.window import Window
from ingress.metrics import Metrics
from ingress.settings import Batching
from ingress.tasks import named
from models.work import FrameFailure, FrameOutcome

log = logging.getLogger("segstream.dispatcher")


class Dispatcher:
    """The queue and the calls of one mode."""

    def __init__(
        self, mode: str, analyzer: Analyzer, settings: Batching, metrics: Metrics, replicas: int = 1
    ) -> None:
        """``replicas`` of the mode's pool share its calls."""
        self.mode = mode
        self.window = Window(settings, replicas)
        self._analyzer = analyzer
        self._settings = settings
        self._waiting: dict[Source, int] = {}  # and its turn, in rule 2's virtual time
        self._next_turn: dict[Source, int] = {}
        self._turn = 0
        self._calls: dict[asyncio.Task[None], list[Flight]] = {}
        self._calls_gauge = metrics.calls_in_flight.labels(mode)
        self._waiting_gauge = metrics.waiting_sessions.labels(mode)
        self._batch_frames = metrics.batch_frames.labels(mode)
        self._unhandled = metrics.unhandled_exceptions

    @property
    def waiting(self) -> int:
        """Sessions with a frame that waits for a call."""
        return len(self._waiting)

    @property
    def calls(self) -> int:
        """Calls in flight."""
        return len(self._calls)

    @property
    def under_way(self) -> int:
        """Frames in these calls."""
        return sum(map(len, self._calls.values()))

    def offer(self, source: Source) -> None:
        """Queue ``source`` where it has a frame ready."""
        if source.is_ready:
            self._queue(source)
        self._start_calls()

    def withdraw(self, source: Source) -> None:
        """Forget a session."""
        self._waiting.pop(source, None)
        self._next_turn.pop(source, None)
        self._waiting_gauge.set(len(self._waiting))

    def abandon(self, flights: Sequence[Flight]) -> None:
        """The session of ``flights`` has gone; a call that serves nobody else is cancelled."""
        for flight in flights:
            flight.abandoned = True
        for call, on_board in self._calls.items():
            if all(flight.abandoned for flight in on_board):
                call.cancel()

    def _start_calls(self) -> None:
        while self._waiting and len(self._calls) < self.window.calls:
            batch = self._gather()
            if not batch:
                break
            call = asyncio.get_running_loop().create_task(self._call(batch), name=named("call"))
            self._calls[call] = batch
            call.add_done_callback(self._ended)
        self._calls_gauge.set(len(self._calls))
        self._waiting_gauge.set(len(self._waiting))

    def _queue(self, source: Source) -> None:
        if source not in self._waiting:
            self._waiting[source] = max(self._turn, self._next_turn.get(source, 0))

    def _gather(self) -> list[Flight]:
        """One flight of each waiting session, in order, within the bounds of a batch."""
        batch: list[Flight] = []
        room = self._settings.max_batch_bytes
        again: list[Source] = []
        for source in sorted(self._waiting, key=self._waiting.__getitem__):
            if len(batch) == self.window.batch or room <= 0:
                break
            turn = self._waiting.pop(source)
            flight = source.take()
            if flight is not None:
                self._turn, self._next_turn[source] = turn, turn + 1
                batch.append(flight)
                room -= len(flight.request.image)
            if source.is_ready:
                again.append(source)
        for source in again:
            self._queue(source)
        return batch

    async def _call(self, batch: list[Flight]) -> None:
        self._batch_frames.observe(len(batch))
        outcomes: Sequence[FrameOutcome | AnalysisFailed] | None = None
        under_way = self.under_way
        began_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._settings.call_timeout_s):
                outcomes = await self._analyzer.analyze(self.mode, [f.request for f in batch])
            self.window.landed(under_way, asyncio.get_running_loop().time() - began_at)
        except AnalysisFailed as failure:
            outcomes = [failure] * len(batch)
        except TimeoutError:
            log.warning(
                "a call of %d frames in mode %s passed %g s",
                len(batch), self.mode, self._settings.call_timeout_s,
            )  # fmt: skip
        finally:
            self._land(batch, outcomes)

    def _land(
        self, batch: list[Flight], outcomes: Sequence[FrameOutcome | AnalysisFailed] | None
    ) -> None:
        if outcomes is None or len(outcomes) != len(batch):
            failure = FrameFailure("INFERENCE_FAILED", "the model gave no answer; try again")
            outcomes = [failure] * len(batch)
        now = asyncio.get_running_loop().time()
        for flight, outcome in zip(batch, outcomes, strict=True):
            flight.landed_at = now
            flight.outcome = outcome
            flight.batch = len(batch)
            flight.landing.land(flight)

    def _ended(self, call: asyncio.Task[None]) -> None:
        batch = self._calls.pop(call)
        # A call that is cancelled before its first step never comes to its own landing.
        self._land([flight for flight in batch if flight.outcome is None], None)
        if not call.cancelled() and (error := call.exception()) is not None:
            self._unhandled.inc()
            log.error("a call in mode %s failed unforeseen", self.mode, exc_info=error)
        self._start_calls()
