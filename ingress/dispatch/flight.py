"""A frame's flight: taken from its session, analyzed in a call, landed with its outcome.

Rules
1. A flight begins at its ``Source`` and ends at its ``Landing``; what carries it in between
   knows neither sessions nor dialects.
2. It lands exactly once, with an outcome: a result, a failure, or that of its whole call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ingress.dispatch.flow import Flow
from ingress.wire.pictures import Frame
from models.work import FrameOutcome, FrameRequest


class AnalysisFailed(Exception):
    """A whole call failed; ``unavailable`` where no replica of the mode could take it."""

    def __init__(self, why: str, *, unavailable: bool = False) -> None:
        super().__init__(why)
        self.unavailable = unavailable


class ModeFailed(Exception):
    """A mode could not be made ready; the words are for the peer."""


class Analyzer(Protocol):
    """The model deployments, as the connection layer sees them."""

    async def analyze(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        """One outcome per frame, in order; raises AnalysisFailed for the whole call."""

    async def prepare(self, mode: str) -> None:
        """Return once ``mode`` can serve; raises ModeFailed."""


@dataclass(slots=True, eq=False)
class Flight:
    """One frame from the moment it left the mailbox until it lands.

    ``outcome`` is None while under way; a whole-call failure lands as
    ``AnalysisFailed``. Times are seconds of the loop's clock.
    """

    source: Source
    landing: Landing
    frame: Frame
    request: FrameRequest
    mode: str
    received_at: float
    taken_at: float
    landed_at: float = 0.0
    batch: int = 0
    outcome: FrameOutcome | AnalysisFailed | None = None
    abandoned: bool = False

    @property
    def queue_ms(self) -> float:
        """From the frame's arrival until its call started."""
        return round(1000 * (self.taken_at - self.received_at), 3)

    @property
    def call_ms(self) -> float:
        """From its call's start until its outcome was there."""
        return 1000 * (self.landed_at - self.taken_at)

    @property
    def total_ms(self) -> float:
        """From the frame's arrival until its outcome was there."""
        return 1000 * (self.landed_at - self.received_at)


class Source(Protocol):
    """Where frames wait, as the dispatcher sees it."""

    @property
    def flow(self) -> Flow:
        """Whose turn their analysis takes."""

    @property
    def is_ready(self) -> bool:
        """Whether ``take`` would give a flight."""

    def take(self) -> Flight | None:
        """The next frame to analyze, or None where it went stale meanwhile."""


class Landing(Protocol):
    """Where a session's outcomes go."""

    def land(self, flight: Flight) -> None:
        """``flight.outcome`` is there; called exactly once."""
