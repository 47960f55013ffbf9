"""How much HTTP may ask at once and how often: places and rates beside those of the sessions.

Rules
1. A request has a place from the end of its head to the end of its answer. There are
   ``max_requests`` places, none of which a WebSocket ever needs; so whoever drips bodies into all
   of them keeps no stream out.
2. Pictures come at a rate, counted by principal, or by address where nobody is asked.
3. Loopback, and addresses that are not known, count towards the whole alone. In the dispatcher all
   pictures are one flow beside the streams, wherever they come from (``ingress.dispatch.flow``).
4. Who has not asked for a while is forgotten, so strangers' addresses are not collected.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingress.admission.refusal import Refused
from ingress.bucket import Bucket
from ingress.settings import Http

_MOST_BUCKETS = 4096


class Requests:
    """The requests of one ingress replica."""

    def __init__(self, settings: Http, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._under_way_of: Counter[str] = Counter()
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()  # who asked last is at the end
        self.under_way = 0

    @contextmanager
    def place(self, address: str | None) -> Iterator[None]:
        """A place for a request of ``address``, for as long as it lasts; raises Refused."""
        if self.under_way >= self._settings.max_requests:
            raise Refused("requests")
        if address is not None and (
            self._under_way_of[address] >= self._settings.requests_per_address
        ):
            raise Refused("address_requests")
        self._count(address, 1)
        try:
            yield
        finally:
            self._count(address, -1)

    def picture(self, asker: str | None) -> None:
        """One more picture of ``asker``, a principal or an address; raises Refused."""
        if asker is None:
            return
        now = self._clock()
        bucket = self._buckets.pop(asker, None)
        if bucket is None:
            bucket = Bucket(self._settings.pictures_per_s, self._settings.pictures_burst)
            bucket.take(0, now)
        self._buckets[asker] = bucket
        self._forget(now)
        missing_s = bucket.missing_s(1, now)
        if missing_s > 0:
            raise Refused("pictures", retry_s=math.ceil(missing_s))
        bucket.take(1, now)

    def _forget(self, now: float) -> None:
        """Those whose bucket is full again, from the one that has not asked for longest."""
        while len(self._buckets) > 1:
            oldest = next(iter(self._buckets))
            if len(self._buckets) <= _MOST_BUCKETS and not self._buckets[oldest].is_full(now):
                return
            del self._buckets[oldest]

    def _count(self, address: str | None, by: int) -> None:
        self.under_way += by
        if address is not None:
            self._under_way_of[address] += by
            if not self._under_way_of[address]:
                del self._under_way_of[address]
