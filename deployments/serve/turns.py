"""Turns at a rate, for each address one bucket of them.

As many addresses are remembered as ``MOST_KEYS``, those that used theirs lately: one that is
forgotten has all its turns again.
"""

from __future__ import annotations

from collections import OrderedDict

from ingress.bucket import Bucket

MOST_KEYS = 4096
_BURST_S = 2.0  # of turns may be taken at once


class Turns:
    """``per_s`` turns a second for each key; None is one, too."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._buckets: OrderedDict[str | None, Bucket] = OrderedDict()

    def wait_s(self, key: str | None, now: float) -> float:
        """Seconds until it is the turn of the next one of ``key``."""
        return self._bucket(key).debt_s(now)

    def take(self, key: str | None, now: float) -> None:
        """A turn of ``key`` is taken, be it there or not."""
        self._bucket(key).take(1, now)

    def give_back(self, key: str | None, now: float) -> None:
        """One that was taken was none."""
        self._bucket(key).take(-1, now)

    def _bucket(self, key: str | None) -> Bucket:
        if key not in self._buckets:
            self._buckets[key] = Bucket(self._per_s, _BURST_S * self._per_s)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return self._buckets[key]
