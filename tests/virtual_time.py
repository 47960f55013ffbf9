"""A clock that costs no time, for everything that only waits for timers."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that, instead of waiting for a timer, moves its clock there."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._now = 1000.0
        self._really_select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now

    def _select(self, timeout: float | None) -> Any:
        assert timeout is not None, "nothing is scheduled: the test would wait for ever"
        self._now += max(0.0, timeout)
        return self._really_select(0)
