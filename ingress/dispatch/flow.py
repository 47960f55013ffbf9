"""Who may take the next turn at a mode: who has cost it least.

A turn is charged by what a frame costs, not by the piece: a picture of 16 megapixels keeps a
segmenter as long as fifty of a webcam, and who sends such has a turn in fifty. This is start-time
fair queueing (Goyal 1996): a ``Clock`` counts milliseconds of a segmenter's work, a turn is due at
a moment of that clock, and each turn that a ``Flow`` takes puts its next one off by its cost.

Rules
1. A flow is a session, or all pictures that come by HTTP: beside the streams they are one.
2. A frame's cost is known only when it has landed, so a turn is charged what the flow's frames
   cost lately, or, before its first has landed, what the mode's did. An average that forgets
   evenly charges late, and charges all.
3. A flow that had nothing to send gains no claim by that.
4. What a flow has had in advance it owes: to the next mode, and after a resume.
5. Dear is a flow whose frames cost ``DEAR`` times what is usual: the geometric mean, on which a few
   dear ones among many weigh little, and where all are dear none is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DEAR = 4.0
_WEIGHT = 0.25  # of the newest frame
_USUAL_WEIGHT = 0.05
_UNKNOWN_MS = 1.0  # a frame of a mode that has never answered


@dataclass(slots=True, eq=False)
class Flow:
    """One claimant: when its next turn is due at the earliest, and what a frame of its costs."""

    next_turn: float = 0.0
    cost_ms: float | None = None


class Clock:
    """The virtual time of one mode: milliseconds of work of the turns that were taken."""

    def __init__(self) -> None:
        self.now = 0.0
        self._cost_ms: float | None = None
        self._usual_log: float | None = None
        self._dear_above_ms = math.inf

    def due(self, flow: Flow, since: float) -> float:
        """When it is the turn of a frame of ``flow`` that waits since then."""
        return max(since, flow.next_turn)

    def take(self, flow: Flow, due: float) -> None:
        """``flow`` takes the turn that was due then."""
        self.now = max(self.now, due)
        flow.next_turn = due + self._expected_ms(flow)

    def landed(self, flow: Flow, cost_ms: float, *, answered: bool) -> None:
        """A frame of ``flow`` cost so much; one that was not answered counts as no cheaper."""
        if not answered:
            cost_ms = max(cost_ms, self._expected_ms(flow))
        flow.cost_ms = _moved(flow.cost_ms, cost_ms)
        self._cost_ms = _moved(self._cost_ms, cost_ms)
        self._usual_log = _moved(self._usual_log, math.log(max(cost_ms, 1e-3)), _USUAL_WEIGHT)
        self._dear_above_ms = DEAR * math.exp(self._usual_log)

    def is_dear(self, flow: Flow) -> bool:
        """Whether frames of ``flow`` are known to be dear."""
        return flow.cost_ms is not None and flow.cost_ms > self._dear_above_ms

    def debt_ms(self, flow: Flow) -> float:
        """What ``flow`` has had in advance."""
        return max(0.0, flow.next_turn - self.now)

    def admit(self, flow: Flow, debt_ms: float) -> None:
        """``flow`` comes from another clock, or back, and owes this much."""
        flow.next_turn, flow.cost_ms = self.now + debt_ms, None

    def _expected_ms(self, flow: Flow) -> float:
        return flow.cost_ms or self._cost_ms or _UNKNOWN_MS


def _moved(average: float | None, newest: float, weight: float = _WEIGHT) -> float:
    return newest if average is None else average + weight * (newest - average)
