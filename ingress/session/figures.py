"""The running figures of one session: rates, latencies, drops, bytes.

Rates come from the last seconds, percentiles from the last frames, totals from
the whole session. All windows are bounded; nothing grows with a session's age.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

_RATE_WINDOW_S = 5.0
_SAMPLES = 256


class Rate:
    """Events per second over the last ``_RATE_WINDOW_S`` seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1024)

    def tick(self, now: float) -> None:
        self._times.append(now)

    def per_second(self, now: float) -> float:
        """Mean rate between the first event in the window and the last, 0.0 for fewer than two."""
        while self._times and self._times[0] < now - _RATE_WINDOW_S:
            self._times.popleft()
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])


def percentiles(samples: deque[float]) -> dict[str, float]:
    """p50, p95 and p99 of ``samples`` by nearest rank; empty where there are none."""
    if not samples:
        return {}
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {f"p{p}": round(ordered[round(last * p / 100)], 3) for p in (50, 95, 99)}


class Figures:
    """What one session did, for ``get_stats`` and for its last log line."""

    def __init__(self) -> None:
        self.frames_in = 0
        self.results_out = 0
        self.errors = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.dropped: Counter[str] = Counter()
        self._rate_in = Rate()
        self._rate_out = Rate()
        self._stages: dict[str, deque[float]] = {}

    def arrived(self, now: float) -> None:
        self.frames_in += 1
        self._rate_in.tick(now)

    def answered(self, now: float, stages_ms: Mapping[str, float]) -> None:
        """Account for one result and the milliseconds of its stages."""
        self.results_out += 1
        self._rate_out.tick(now)
        for stage, ms in stages_ms.items():
            self._stages.setdefault(stage, deque(maxlen=_SAMPLES)).append(ms)

    def fps(self, now: float) -> float:
        """Results per second."""
        return round(self._rate_out.per_second(now), 2)

    def inference_ms(self) -> tuple[float, float, float]:
        """Mean, least and greatest inference time of the last frames; zeros before the first."""
        samples = self._stages.get("inference")
        if not samples:
            return 0.0, 0.0, 0.0
        mean = sum(samples) / len(samples)
        return round(mean, 3), round(min(samples), 3), round(max(samples), 3)

    def summary(self, now: float) -> dict[str, Any]:
        """The ``session`` group of ``stats``."""
        return {
            "fps_in": round(self._rate_in.per_second(now), 2),
            "fps_out": self.fps(now),
            "frames_in": self.frames_in,
            "results_out": self.results_out,
            "errors": self.errors,
            "dropped": dict(self.dropped),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "latency_ms": {stage: percentiles(ms) for stage, ms in self._stages.items()},
        }
