"""A filter that lets a repeated warning through once an interval, with the count of the rest.

Two warnings are the same where logger and template (``record.msg``, before its arguments)
are. The first passes at once; the next one after ``interval_s`` passes and says how many
were held back. Errors and the loggers named in ``spared`` always pass. At most ``kinds``
warnings are remembered, the latest; one that was forgotten counts as new.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock


@dataclass(slots=True)
class _Heard:
    passed_at: float
    held_back: int = 0


class Quiet(logging.Filter):
    """For one handler: a record must meet it once."""

    def __init__(
        self,
        interval_s: float = 60.0,
        *,
        spared: frozenset[str] = frozenset(),
        kinds: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._spared = spared
        self._kinds = kinds
        self._clock = clock
        self._heard: OrderedDict[tuple[str, str], _Heard] = OrderedDict()
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or record.name in self._spared:
            return True
        now, kind = self._clock(), (record.name, str(record.msg))
        with self._lock:
            before = self._heard.get(kind)
            if before and now - before.passed_at < self._interval_s:
                before.held_back += 1
                self._heard.move_to_end(kind)
                return False
            self._heard[kind] = _Heard(now)
            self._heard.move_to_end(kind)
            if len(self._heard) > self._kinds:
                self._heard.popitem(last=False)
        if before and before.held_back:
            elapsed_s = now - before.passed_at
            message = record.getMessage()
            record.msg = "%s (repeated %d times in the last %.0f s)"
            record.args = (message, before.held_back, elapsed_s)
        return True
