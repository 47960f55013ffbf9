"""Every replica's metrics on one page, asked for at each scrape.

Rules:

1. Every replica of every deployment is asked at once, and each answers for itself: one
   that hangs or has died is left out and counted, and the others' figures are there.
2. A page takes at most ``timeout_s``. A call that was not answered by then is cancelled,
   so a replica that hangs for an hour has at most one of them waiting.
3. Scrapes do not pile up: at most one gathering runs. Who comes while it does waits for
   the next and shares it, because a page must hold everything that happened before it
   was asked for; that scrape takes at most twice ``timeout_s``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextvars import Context
from functools import partial
from typing import Any

from prometheus_client import Counter
from ray import serve
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.metrics.exposition import Exposition, Families, page
from deployments.serve.handles import each_outcome, over_grpc

log = logging.getLogger("segstream.gathering")


class Gathering:
    """The metrics of the whole application, as one ingress replica collects them."""

    def __init__(
        self,
        mine: Exposition,
        deployments: Iterable[DeploymentHandle[Any]],
        timeout_s: float,
    ) -> None:
        """``mine`` is this replica's own; ``deployments`` are all, its own among them.

        Each replica of them has a method ``exposition``.
        """
        me = serve.get_replica_context()
        self._me = me.replica_tag
        self._deployment = me.deployment
        self._mine = mine
        self._timeout_s = timeout_s
        self._handles = {h.deployment_name: over_grpc(h) for h in deployments}
        self._missing = Counter(
            "segstream_scrape_replicas_missing",
            "Replicas that a scrape left out because they did not answer in time.",
            ["deployment"],
            registry=mine.registry,
        )
        for deployment in self._handles:
            self._missing.labels(deployment)
        self._running: asyncio.Task[bytes] | None = None

    async def page(self) -> bytes:
        """The page, of a gathering that began after this call."""
        if self._running and not self._running.done():
            await asyncio.wait([self._running])
        if self._running is None or self._running.done():
            # In a context of its own: Serve ends the calls of a request that is cancelled,
            # and these are also those of the scrapes that wait with it.
            gathering = self._gathered()
            self._running = asyncio.get_running_loop().create_task(gathering, context=Context())
        return await asyncio.shield(self._running)

    async def _gathered(self) -> bytes:
        asked = (self._ask(name, handle) for name, handle in self._handles.items())
        others = [families for answers in await asyncio.gather(*asked) for families in answers]
        # Last, so that what was just counted as missing is on this page already.
        return page([self._mine.families(), *others])

    async def _ask(self, deployment: str, handle: DeploymentHandle[Any]) -> list[Families]:
        """What the replicas of one deployment answered in time."""
        ask = partial(handle.broadcast, "exposition", self._me)
        outcomes = await each_outcome(ask, self._timeout_s)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if deployment == self._deployment:
            # This replica takes requests a moment before its router has heard of it.
            failed = [e for e in failed if not isinstance(e, DeploymentUnavailableError)]
        if failed:
            self._missing.labels(deployment).inc(len(failed))
            kinds = ", ".join(sorted({type(error).__name__ for error in failed}))
            log.warning("%d replicas of %s gave no metrics: %s", len(failed), deployment, kinds)
        return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
