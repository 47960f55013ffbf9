"""Waiting sessions become batches: fair, fresh, and without a timer.

Rules
1. While the window (``ingress.dispatch.window``) has room for a call, whatever waits goes
   at once. At low load nothing waits; at high load frames gather while calls run,
   batches grow, and latency stays about one cycle.
2. One frame of each flow per batch, and first those who have cost the mode least
   (``ingress.dispatch.flow``): equal clients get equal shares, whenever their frames come.
   Pictures by HTTP, which are one flow, fill a batch only where nobody else waits or is under way.
3. A frame that is dear, as those of its flow were lately, goes in a call of its own beside the
   window, one for each replica: the others of a batch would wait for it to be drawn.
4. A session gives its frame when the call starts, not when it queues, so the
   frame is the newest one.
5. Every flight lands exactly once, whatever becomes of its call. A call whose
   sessions have all gone is cancelled.

One dispatcher serves one mode, so a slow mode never delays another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import chain

from ingress.dispatch.flight import AnalysisFailed, Analyzer, Flight, Source
from ingress.dispatch.flow import Clock, Flow
from ingress.dispatch.window import Window
from ingress.metrics import Metrics
from ingress.settings import Batching
from ingress.tasks import named
from models.work import FrameFailure, FrameOutcome, FrameResult

log = logging.getLogger("segstream.dispatcher")


class Dispatcher:
    """The queue and the calls of one mode."""

    def __init__(
        self, mode: str, analyzer: Analyzer, settings: Batching, metrics: Metrics, replicas: int = 1
    ) -> None:
        """``replicas`` of the mode's pool share its calls; ``singles`` is the flow of all HTTP."""
        self.mode = mode
        self.window = Window(settings, replicas)
        self._analyzer = analyzer
        self._settings = settings
        self.singles = Flow()
        self._replicas = replicas
        self._dear: set[asyncio.Task[None]] = set()
        self._waiting: dict[Source, float] = {}  # since when, on the clock of the turns
        self._clock = Clock()
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
        """``source`` waits no longer."""
        self._waiting.pop(source, None)
        self._waiting_gauge.set(len(self._waiting))

    def debt_ms(self, flow: Flow) -> float:
        """What ``flow`` has had in advance, in milliseconds of a segmenter's work."""
        return self._clock.debt_ms(flow)

    def admit(self, flow: Flow, debt_ms: float) -> None:
        """``flow`` takes its turns here from now on, and owes this much."""
        self._clock.admit(flow, debt_ms)

    def abandon(self, flights: Sequence[Flight]) -> None:
        """The session of ``flights`` has gone; a call that serves nobody else is cancelled."""
        for flight in flights:
            flight.abandoned = True
        for call, on_board in self._calls.items():
            if all(flight.abandoned for flight in on_board):
                call.cancel()

    def _start_calls(self) -> None:
        while self._may_start():
            waited = len(self._waiting)
            batch, dear = self._gather()
            if not batch:
                if len(self._waiting) == waited:
                    break
                continue  # what was taken had gone stale
            call = asyncio.get_running_loop().create_task(
                self._call(batch, dear=dear), name=named("call")
            )
            self._calls[call] = batch
            if dear:
                self._dear.add(call)
            call.add_done_callback(self._ended)
        self._calls_gauge.set(len(self._calls))
        self._waiting_gauge.set(len(self._waiting))

    @property
    def _usual_is_free(self) -> bool:
        return len(self._calls) - len(self._dear) < self.window.calls

    @property
    def _dear_is_free(self) -> bool:
        return len(self._dear) < self._replicas

    def _may_start(self) -> bool:
        """Whether a call may be free for somebody who waits."""
        return bool(self._waiting) and (
            self._usual_is_free
            or (self._dear_is_free and any(self._clock.is_dear(s.flow) for s in self._waiting))
        )

    def _queue(self, source: Source) -> None:
        if source not in self._waiting:
            self._waiting[source] = self._clock.now

    def _gather(self) -> tuple[list[Flight], bool]:
        """One flight of each flow that waits, in order, within the bounds of a batch.

        Or a dear one alone; the second says which.
        """
        batch: list[Flight] = []
        room = self._settings.max_batch_bytes
        again: list[Source] = []
        crowded, alone = self._somebody_else_is_here(), False
        usual = self._usual_is_free
        served: set[Flow] = set()
        order = sorted(self._waiting, key=self._due)
        for source in order:
            if len(batch) == self.window.batch or room <= 0 or alone:
                break
            if crowded and source.flow in served:
                continue
            due = self._due(source)
            is_dear = crowded and self._clock.is_dear(source.flow)
            if is_dear:
                its_turn = source is order[0] or due <= self._clock.now
                if batch or not its_turn or not self._dear_is_free:
                    continue
            elif not usual:
                continue
            del self._waiting[source]
            flight = source.take()
            if flight is not None:
                self._clock.take(source.flow, due)
                served.add(source.flow)
                batch.append(flight)
                room -= len(flight.request.image)
                alone = is_dear
            if source.is_ready:
                again.append(source)
        for source in again:
            self._queue(source)
        return batch, alone

    def _due(self, source: Source) -> float:
        return self._clock.due(source.flow, self._waiting[source])

    def _somebody_else_is_here(self) -> bool:
        """Whether more than one flow waits or is under way."""
        flying = (flight.source for batch in self._calls.values() for flight in batch)
        return len({source.flow for source in chain(self._waiting, flying)}) > 1

    async def _call(self, batch: list[Flight], *, dear: bool) -> None:
        self._batch_frames.observe(len(batch))
        outcomes: Sequence[FrameOutcome | AnalysisFailed] | None = None
        under_way = self.under_way
        began_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._settings.call_timeout_s):
                outcomes = await self._analyzer.analyze(self.mode, [f.request for f in batch])
            if not dear:  # which says nothing of what the pool answers of the others
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
            self._charge(flight, outcome)
            flight.landing.land(flight)

    def _charge(self, flight: Flight, outcome: FrameOutcome | AnalysisFailed) -> None:
        """A call that failed as a whole has told no cost."""
        if isinstance(outcome, FrameResult | FrameFailure):
            cost_ms = outcome.cost_ms(flight.batch)
            answered = isinstance(outcome, FrameResult)
            self._clock.landed(flight.source.flow, cost_ms, answered=answered)

    def _ended(self, call: asyncio.Task[None]) -> None:
        batch = self._calls.pop(call)
        self._dear.discard(call)
        # A call that is cancelled before its first step never comes to its own landing.
        self._land([flight for flight in batch if flight.outcome is None], None)
        if not call.cancelled() and (error := call.exception()) is not None:
            self._unhandled.inc()
            log.error("a call in mode %s failed unforeseen", self.mode, exc_info=error)
        self._start_calls()
