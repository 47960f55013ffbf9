"""What a stream achieves, counted by the client: rates, latency, losses.

Rates look at the last two seconds and latency at the last 512 results, so the
live line shows now; the summary's rates are over the whole time. The clock is
given with each event, in seconds.
"""

from __future__ import annotations

from collections import Counter, deque

from client.outcomes import Dropped, Failed, Outcome
from ingress.wire.pictures import Result

_RATE_OVER_S = 2.0
_LATENCIES = 512
_MOMENTS = 1024


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, int(rank) - 1)]


class Rate:
    """Events per second over the last two."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=_MOMENTS)

    def add(self, now: float) -> None:
        self._moments.append(now)

    def per_second(self, now: float) -> float:
        while self._moments and self._moments[0] <= now - _RATE_OVER_S:
            self._moments.popleft()
        return len(self._moments) / _RATE_OVER_S


class Tally:
    """The counts of one run, whose rates are since ``started``."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.sent = self.results = 0
        self.dropped: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.reconnects = self.resumes = 0
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES)
        self._sent_rate, self._result_rate = Rate(), Rate()

    def on_sent(self, now: float) -> None:
        self.sent += 1
        self._sent_rate.add(now)

    def on_outcome(self, outcome: Outcome, now: float) -> None:
        """Count one outcome; latency is from the frame's ``captured_us`` to now."""
        match outcome:
            case Result(captured_us=captured_us):
                self.results += 1
                self._result_rate.add(now)
                self._latencies_ms.append(now * 1e3 - captured_us / 1e3)
            case Dropped(cause=cause):
                self.dropped[cause] += 1
            case Failed(code=code):
                self.failed[code] += 1

    def on_back(self, *, resumed: bool) -> None:
        """Count one return; after it the session went on, or another took its place."""
        self.reconnects += 1
        self.resumes += resumed

    def _latency(self) -> str:
        values = list(self._latencies_ms)
        return f"{percentile(values, 0.5):.0f}/{percentile(values, 0.95):.0f} ms"

    def line(self, now: float) -> str:
        """The live line."""
        return (
            f"in {self._sent_rate.per_second(now):5.1f} fps  "
            f"out {self._result_rate.per_second(now):5.1f} fps  "
            f"latency p50/p95 {self._latency()}  "
            f"dropped {self.dropped.total()}  failed {self.failed.total()}"
        )

    def summary(self, now: float) -> str:
        """The whole run, a line per fact."""
        lasted = max(now - self.started, 1e-9)
        lines = [
            f"sent      {self.sent} frames in {lasted:.1f} s, {self.sent / lasted:.1f} per second",
            f"results   {self.results}, {self.results / lasted:.1f} per second",
            f"latency   p50/p95 {self._latency()}",
        ]
        for name, counts in (("dropped", self.dropped), ("failed", self.failed)):
            causes = ", ".join(f"{count} {cause}" for cause, count in counts.most_common())
            lines.append(f"{name:<9} {causes or 'none'}")
        returns = f"{self.reconnects} reconnected, {self.resumes} resumed"
        lines.append(f"returns   {returns if self.reconnects else 'none'}")
        return "\n".join(lines)
