"""The model deployments as the connection layer's ``Analyzer``, ``SceneAnalyst`` and ``Census``.

All of Ray's ways to fail end here, as one of the few failures that a session
knows. Calls carry encoded bytes over gRPC: a 640x480 array costs 15 ms a hop,
its JPEG 3 ms, and gRPC handles halve what the actor path costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from deployments.serving import apart
from ingress.dispatcher import AnalysisFailed, ModeFailed
from ingress.service import StatsFailed
from models.frame import FrameOutcome, FrameRequest

log = logging.getLogger("segstream.pools")

# A replica died, is not there yet, or has more calls than it takes: none of it a bug.
_GONE = (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError)
# RuntimeError is what Serve's gRPC path raises for a status it does not expect.
FAILED = (RayError, RayServeException, grpc.RpcError, RuntimeError)


def over_grpc(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """``handle`` with its calls on gRPC instead of the object store.

    What calls carry is plain data, so they are pickled by C (62 us for a batch of 8) and not by
    cloudpickle, which also ships code (142 us).
    """
    return handle.options(
        _by_reference=False, request_serialization="pickle", response_serialization="pickle"
    )


class Pools:
    """Handles of the segmenter pools by mode."""

    def __init__(self, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        self._handles = {mode: over_grpc(handle) for mode, handle in handles.items()}
        # Naming the method makes a new handle, which takes as long as sending the call.
        self._segment = {mode: handle.segment for mode, handle in self._handles.items()}

    async def analyze(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        response = apart(self._segment[mode].remote, mode, frames)
        try:
            outcomes: Sequence[FrameOutcome] = await response
        except asyncio.CancelledError:
            # Ending our wait does not end the call; this does.
            response.cancel()
            raise
        except _GONE as error:
            log.warning("mode %s: no replica took a call: %s", mode, type(error).__name__)
            raise AnalysisFailed(type(error).__name__, unavailable=True) from error
        except FAILED as error:
            log.warning("mode %s: a call failed", mode, exc_info=error)
            raise AnalysisFailed(type(error).__name__) from error
        return outcomes

    async def prepare(self, mode: str) -> None:
        """Load ``mode`` in every replica of its pool, so that no frame meets one without it."""
        try:
            await self._handles[mode].broadcast("prepare", mode).results_async()
        except _GONE as error:
            raise ModeFailed(f"no replica of {mode} is there; try again in a moment") from error
        except FAILED as error:
            log.warning("mode %s could not be loaded", mode, exc_info=error)
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
                statistics: Mapping[str, Any] = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except TimeoutError:
            response.cancel()
            raise StatsFailed("the statistics took too long; try again") from None
        except FAILED as error:
            log.warning("statistics failed", exc_info=error)
            raise StatsFailed("the statistics are not available; try again") from error
        return statistics
