"""How a replica that is to stop lets its clients go.

All of them are told at once (``bye``, with the window in which to come back) and
served on; the closes are spread, so that the clients do not come back together,
over at most a third of the grace period: each session must be with the store
before the replica is killed. Newcomers are turned away meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ingress.disconnects import Disconnect
from ingress.metrics import Metrics
from ingress.resume.roll import Roll
from ingress.settings import Drain

STOPPING = "this server is being stopped or replaced; come back in a moment"


class Drainage:
    """The end of one replica's service."""

    def __init__(self, roll: Roll, settings: Drain, metrics: Metrics) -> None:
        self._roll = roll
        self._settings = settings
        self._metrics = metrics
        self.under_way = False

    async def run(self) -> None:
        """Let every client go; returns once none is left, or the grace is nearly over."""
        self.under_way = True
        loop = asyncio.get_running_loop()
        started = loop.time()
        sessions = list(self._roll)
        for session in sessions:
            session.announce()
        grace_s = self._settings.grace_s
        pace_s = min(self._settings.pace_s, grace_s / 3 / max(1, len(sessions)))
        for session in sessions:
            await asyncio.sleep(pace_s)
            session.end(Disconnect("server_shutdown", STOPPING))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(started + 0.9 * grace_s):
                await self._roll.emptied()
        self._metrics.drain_duration.observe(loop.time() - started)
