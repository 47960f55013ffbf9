"""How many replicas run, asked of Serve's controller at most every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ray import serve

from deployments.serve.handles import Unanswered, answered

_KEPT_S = 5.0


class ReplicaCensus:
    """The ``Census`` of the application that this replica belongs to."""

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._counted: Mapping[str, int] = {}
        self._counted_at = -_KEPT_S

    async def replicas(self) -> Mapping[str, int]:
        now = asyncio.get_running_loop().time()
        if now - self._counted_at >= _KEPT_S:
            self._counted_at = now
            self._counted = await asyncio.to_thread(self._count)
        return self._counted

    def _count(self) -> dict[str, int]:
        try:
            with answered("the census"):
                app = serve.status().applications.get(self._app_name)
        except Unanswered:
            return {}  # the controller is restarting; the figure is a courtesy
        return {
            name: sum(n for state, n in deployment.replica_states.items() if state == "RUNNING")
            for name, deployment in (app.deployments.items() if app else ())
        }
