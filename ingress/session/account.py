"""The account of one session: what is counted of it, in its own figures and the replica's metrics.

Whoever knows that something happened says it here once; both sums follow. Every frame that
arrived is counted once more at its end: as a result, an error or a drop.
"""

from __future__ import annotations

import asyncio

from ingress.dispatch.flight import Flight
from ingress.metrics import Metrics
from ingress.session.figures import Figures
from ingress.wire.pictures import Frame
from ingress.wire.requests import ClientMessage
from ingress.wire.text import type_of
from ingress.wire.words import DropCause
from models.work import FrameResult


class Account:
    """What one session did."""

    def __init__(self, metrics: Metrics) -> None:
        self.figures = Figures()
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time

    def received(self, size: int, *, binary: bool) -> None:
        """A message of ``size`` bytes came; a binary one is a frame before it is understood."""
        self.figures.bytes_in += size
        self._metrics.message_bytes.labels("in").inc(size)
        if binary:
            self._metrics.messages.labels("in", "frame").inc()

    def understood(self, said: Frame | ClientMessage) -> None:
        """It was text, and says this."""
        kind = "frame" if isinstance(said, Frame) else type_of(type(said))
        self._metrics.messages.labels("in", kind).inc()

    def refused(self) -> None:
        """It was bad."""
        self._metrics.messages.labels("in", "bad").inc()

    def ponged(self, rtt_s: float) -> None:
        """A ping was answered."""
        self._metrics.heartbeat_rtt.observe(rtt_s)

    def sent(self, kind: str, size: int) -> None:
        """A message of ``size`` bytes left."""
        self.figures.bytes_out += size
        self._metrics.message_bytes.labels("out").inc(size)
        self._metrics.messages.labels("out", kind).inc()

    def arrived(self) -> None:
        """A frame came."""
        self.figures.arrived(self._clock())

    def answered(self, flight: Flight, result: FrameResult) -> None:
        """A frame ended as a result."""
        metrics, mode = self._metrics, flight.mode
        stages = {"queue": flight.queue_ms, **result.stages_ms, "total": flight.total_ms}
        self.figures.answered(flight.landed_at, stages)
        metrics.frames.labels(mode, "result").inc()
        metrics.frame_age.labels(mode).observe(flight.total_ms / 1000)
        metrics.frame_latency.labels(mode, "queue").observe(flight.queue_ms / 1000)
        metrics.frame_latency.labels(mode, "call").observe(flight.call_ms / 1000)

    def failed(self, mode: str) -> None:
        """A frame ended as an error."""
        self.figures.errors += 1
        self._metrics.frames.labels(mode, "error").inc()

    def dropped(self, mode: str, cause: DropCause) -> None:
        """A frame ended unanswered."""
        self.figures.dropped[cause] += 1
        self._metrics.frames.labels(mode, "dropped").inc()
        self._metrics.frames_dropped.labels(cause).inc()
