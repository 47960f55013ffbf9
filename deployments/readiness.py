"""Whether a frame of the default mode could be answered now: what ``GET /ready`` says.

Rules
1. A call without frames goes the way of frames, to the freest replica of the pool, and is answered
   by whoever has the mode loaded, not behind the frames of others. It was answered lately: ready.
2. Who asks never waits for such a call, or for a moment only where nothing is known yet. The calls
   are made in the background, and only while somebody asks now and then.
3. A replica that hangs costs one late call, and the next goes to another: it counts as the one
   with more to do. Where all hang, are gone or load the mode, nothing answers, and soon it shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

from ingress.dispatch.flight import AnalysisFailed, Analyzer
from ingress.upkeep import kept_up

_LATELY_S = 3.0
_CALL_S = 1.0  # two replicas that hang may be met between two answers
_PAUSE_S = 1.0
_PAUSE_AFTER_FAILURE_S = 0.2
_PATIENCE_S = 0.03  # of a prober, who has little
_INTEREST_S = 60.0  # after the last question; probers ask every 10 s or so


class Readiness:
    """That of one mode, as one ingress replica sees it."""

    def __init__(self, analyzer: Analyzer, mode: str, on_bug: Callable[[], object]) -> None:
        self._analyzer = analyzer
        self._mode = mode
        self._on_bug = on_bug
        self._asked_at = self._answered_at = float("-inf")
        self._known = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def is_there(self) -> bool:
        """Whether a frame could be answered now."""
        loop = asyncio.get_running_loop()
        self._asked_at = loop.time()
        if self._watching is None or self._watching.done():
            self._known.clear()
            watch = kept_up("the watch on readiness", self._watch, self._on_bug)
            # In a context of its own: it outlives the request, and logs nothing in its name.
            self._watching = loop.create_task(watch, context=Context())
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._known.wait()
        return loop.time() - self._answered_at < _LATELY_S

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while clock() - self._asked_at < _INTEREST_S:
            pause_s = _PAUSE_AFTER_FAILURE_S
            with suppress(AnalysisFailed, TimeoutError):
                async with asyncio.timeout(_CALL_S):
                    await self._analyzer.analyze(self._mode, ())
                self._answered_at = clock()
                pause_s = _PAUSE_S
            self._known.set()
            await asyncio.sleep(pause_s)
