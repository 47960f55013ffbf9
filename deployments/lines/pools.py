"""The model deployments as the connection layer's ``Analyzer`` and ``SceneAnalyst``.

All of Ray's ways to fail end here, as one of the few failures that a session knows. Batches go
over lines of their own, as encoded bytes: a 640x480 array costs 15 ms a hop, its JPEG 3 ms. What
is rare, a mode to load or statistics, is a call of a handle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.lines.caller import Caller, NoReplica
from deployments.lines.channel import CallFailed, ChannelLost
from deployments.serve.handles import Gone, Unanswered, answered, apart, over_grpc
from ingress.dispatch.flight import AnalysisFailed, ModeFailed
from ingress.service import StatsFailed
from models.work import FrameOutcome, FrameRequest

log = logging.getLogger("segstream.pools")


class Pools:
    """The segmenter pools by mode."""

    def __init__(self, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        self._handles = {mode: over_grpc(handle) for mode, handle in handles.items()}
        pools = {handle.deployment_name: handle for handle in handles.values()}
        callers = {name: Caller(handle) for name, handle in pools.items()}
        self._callers = {mode: callers[handle.deployment_name] for mode, handle in handles.items()}

    async def analyze(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        try:
            return await self._callers[mode].call(mode, frames)
        except NoReplica as error:
            if frames:  # without any it was asked whether one is there
                log.warning("mode %s: no replica took a call: %s", mode, error)
            raise AnalysisFailed(str(error), unavailable=True) from error
        except ChannelLost as error:  # of which its line has told
            raise AnalysisFailed("the replica is lost", unavailable=True) from error
        except CallFailed as error:
            log.warning("mode %s: a call failed: %s", mode, error)
            raise AnalysisFailed(str(error)) from error

    async def prepare(self, mode: str) -> None:
        """Load ``mode`` in every replica of its pool, so that no frame meets one without it."""
        try:
            with answered(f"the load of {mode}"):
                await self._handles[mode].broadcast("prepare", mode).results_async()
        except Gone as error:
            raise ModeFailed(f"no replica of {mode} is there; try again in a moment") from error
        except Unanswered as error:
            raise ModeFailed(f"{mode} could not be loaded; the mode before it goes on") from error


class StatsPool:
    """Handle of the statistics deployment."""

    def __init__(self, handle: DeploymentHandle[Any], timeout_s: float) -> None:
        self._handle = over_grpc(handle)
        self._timeout_s = timeout_s

    async def scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> Mapping[str, Any]:
        response = apart(self._handle.scene.remote, mode, masks)
        try:
            async with asyncio.timeout(self._timeout_s):
                with answered("statistics"):
                    statistics: Mapping[str, Any] = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except TimeoutError:
            response.cancel()
            raise StatsFailed("the statistics took too long; try again") from None
        except Unanswered as error:
            raise StatsFailed("the statistics are not available; try again") from error
        return statistics
