"""A token bucket: how much may come in a while, and how long to wait where that was too much.

What is taken may leave a debt, so nothing is too large to pass; what comes next waits until the
debt is paid. The clock is the caller's.
"""

from __future__ import annotations


class Bucket:
    """``rate_per_s`` tokens come in a second, up to ``burst``."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = self._tokens = burst
        self._at = 0.0

    def take(self, tokens: float, now: float) -> None:
        """Take ``tokens``, be they there or not."""
        self._fill(now)
        self._tokens -= tokens

    def debt_s(self, now: float) -> float:
        """Seconds until nothing is owed; 0 where something may be taken."""
        self._fill(now)
        return max(0.0, -self._tokens / self._rate_per_s)

    def missing_s(self, tokens: float, now: float) -> float:
        """Seconds until ``tokens`` are there; 0 where they are."""
        self._fill(now)
        return max(0.0, (tokens - self._tokens) / self._rate_per_s)

    def is_full(self, now: float) -> bool:
        """Whether a new one would be the same."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
