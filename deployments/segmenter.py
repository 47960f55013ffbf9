"""The segmenter: a replica that hosts one or more modes and answers batches.

A mode is loaded once per replica, the first at start and the others on first
use, in a thread, so that the event loop goes on taking calls of the modes that
are there. Calls overlap: decode, inference, render and encode of several
batches run side by side in the pipelines' threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Literal

import ray
from ray import serve

from deployments.cores import cores
from deployments.lines.callee import Callee
from deployments.lines.channel import Address
from deployments.metrics.exposition import Exposition, Families
from deployments.metrics.models import SegmenterMetrics
from deployments.serve.logs import adopt_serve_logging
from models.catalog import MODES
from models.pictures.limits import ImageLimits
from models.pipeline import Pipeline, workers_for
from models.runtimes.choice import open_runtime
from models.work import FrameOutcome, FrameRequest

log = logging.getLogger("segstream.segmenter")


class Segmenter:
    """One replica of a pool."""

    _callee: Callee | None = None

    def __init__(
        self,
        modes: Sequence[str],
        first: str,
        device: Literal["auto", "cuda", "cpu"],
        runtime: Literal["auto", "torch", "openvino"],
        threads: int | None,
        limits: ImageLimits,
    ) -> None:
        adopt_serve_logging()
        self._modes = tuple(modes)
        self._device = device
        self._runtime = runtime
        self._threads = threads or cores()
        self._limits = limits
        self._metrics = SegmenterMetrics(self._modes)
        self._exposition = Exposition(self._metrics.registry)
        self._ready = {first: self._load(first)}
        self._loading: dict[str, asyncio.Task[Pipeline]] = {}

    async def address(self, asker: str) -> Address:
        """Where this replica takes calls of ``segment`` from the node ``asker``."""
        if self._callee is None:
            me = serve.get_replica_context().replica_tag
            self._callee = Callee(me, ray.util.get_node_ip_address(), self.segment)
        return await self._callee.address(asker)

    async def segment(self, mode: str, frames: Sequence[FrameRequest]) -> list[FrameOutcome]:
        """One outcome per frame, in order; a bad frame is a failure of its own.

        Without frames it is asked whether the mode is there, which is not queued behind any.
        """
        pipeline = await self._pipeline(mode)
        if not frames:
            return []
        with self._metrics.unhandled_exceptions.count_exceptions():
            outcomes = await asyncio.wrap_future(pipeline.submit(frames))
        self._metrics.answered(mode, outcomes)
        return outcomes

    async def prepare(self, mode: str) -> None:
        """Return once ``mode`` is loaded and warm here."""
        await self._pipeline(mode)

    async def exposition(self, asker: str) -> Families:
        """The metrics of this replica, for the ingress replica that asks."""
        return self._exposition.families(asker)

    def __del__(self) -> Awaitable[None] | None:
        """What Serve awaits before it ends this replica; for the garbage collector, nothing."""
        return self._callee.leave() if self._callee is not None and self._callee.listens else None

    async def _pipeline(self, mode: str) -> Pipeline:
        """The pipeline of ``mode``, loaded by the first who asks; a failed load may be retried."""
        if mode in self._ready:
            return self._ready[mode]
        if mode not in self._loading:
            self._loading[mode] = asyncio.create_task(self._load_aside(mode))
        # One caller that gives up must not end the load for the others.
        return await asyncio.shield(self._loading[mode])

    async def _load_aside(self, mode: str) -> Pipeline:
        try:
            self._ready[mode] = await asyncio.to_thread(self._load, mode)
        finally:
            del self._loading[mode]
        return self._ready[mode]

    def _load(self, mode: str) -> Pipeline:
        if mode not in self._modes:
            raise ValueError(f"this pool does not host {mode}; it hosts {', '.join(self._modes)}")
        spec = MODES[mode]
        with self._metrics.loading(mode):
            runtime = open_runtime(spec, self._device, self._runtime, self._threads)
        log.info("mode %s is ready: %s on %s", mode, runtime.name, runtime.device)
        # Each mode has workers of its own, so a slow one never holds up a fast one.
        return Pipeline(spec, runtime, self._limits, workers_for(self._threads))
