"""Calls of Serve's handles, as this application makes them, and the ways in which they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

import grpc
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentBroadcastResponse, DeploymentHandle

Call = TypeVar("Call")

# A replica died, is not there yet, or has more calls than it takes: none of it a bug.
GONE = (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError)
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


def apart(remote: Callable[..., Call], *details: Any, **options: Any) -> Call:
    """Make a call of a handle that is no child of the request under way.

    Serve cancels the children of a request whose client leaves; a batch also carries the frames
    of others, and what a lost session leaves behind is written because its client has left.
    """
    return Context().run(remote, *details, **options)


async def each_outcome(broadcast: DeploymentBroadcastResponse, timeout_s: float) -> list[Any]:
    """What each replica answered to a broadcast, or the exception that stands for its answer.

    Serve's own ``results_async`` loses every answer where one is late. Its parts, one call
    per replica, are private; where a new Ray moved them, it is all or nothing.

    Raises:
        TimeoutError: the calls could not be sent in time.
    """
    calls_of = getattr(broadcast, "_fetch_replica_results_async", None)
    if calls_of is None:
        return await broadcast.results_async(timeout_s=timeout_s, return_exceptions=True)
    deadline = asyncio.get_running_loop().time() + timeout_s
    async with asyncio.timeout_at(deadline):
        calls = await calls_of()
    return await asyncio.gather(*(_answer(c, deadline) for c in calls), return_exceptions=True)


async def _answer(call: Any, deadline: float) -> Any:
    try:
        async with asyncio.timeout_at(deadline):
            return await call.get_async()
    except (TimeoutError, asyncio.CancelledError):
        # Ending our wait does not end the call; this does.
        call.cancel()
        raise
