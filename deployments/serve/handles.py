"""Calls of Serve's handles, as this application makes them, and the ways in which they fail.

Over gRPC an exception arrives as the replica raised it: Serve pickles it there and raises it here
bare, not in a RayTaskError as by way of the object store. So a call may raise anything at all, even
a CancelledError that is the replica's own. ``answered`` is the one place where all of it becomes
``Unanswered``; who makes a call has its words for that, and knows no other failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

log = logging.getLogger("segstream.calls")

Call = TypeVar("Call")

_GONE = (RayActorError, BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError)
# What Ray and Serve say of calls that they could not bring there and back: a traceback of it would
# show their insides alone. RuntimeError is Serve's word for a gRPC status it does not expect.
_ON_THE_WAY = (RayError, RayServeException, grpc.RpcError, RuntimeError)


class Unanswered(Exception):
    """A call got no answer; it is logged, and the words are for the log."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


class Gone(Unanswered):
    """Nobody took it: a replica died, is not there yet, or has more calls than it takes.

    None of it is a bug, so it is not logged.
    """


@contextmanager
def answered(what: str) -> Iterator[None]:
    """Whatever a call in this block raises leaves it as ``Unanswered``; ``what`` is for the log.

    A cancellation of the task that waits stays one. The replica's own traceback is in the
    replica's log, where Serve writes it; ours shows where the call was made.
    """
    try:
        yield
    except _GONE as error:
        raise Gone(error) from error
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        log.warning("%s: the call was cancelled there", what)
        raise Unanswered(error) from error
    except Exception as error:
        bug = None if isinstance(error, _ON_THE_WAY) else error
        # Part of the template, by which repeated warnings are held back: those of its own kind.
        failed = f"{what}: the call failed: %s: %s"
        log.warning(failed, type(error).__name__, error, exc_info=bug)
        raise Unanswered(error) from error


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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


async def each_outcome(
    ask: Callable[[], DeploymentBroadcastResponse], timeout_s: float
) -> list[Any]:
    """What each replica answered to the broadcast that ``ask`` makes, or the exception instead.

    Serve's own ``results_async`` loses every answer where one is late. Its parts, one call
    per replica, are private; where a new Ray moved them, it is all or nothing. Where the calls
    could not be sent, one exception says why.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        async with asyncio.timeout_at(deadline):
            with answered("a broadcast"):
                broadcast = ask()
                calls_of = getattr(broadcast, "_fetch_replica_results_async", None)
                if calls_of is None:
                    return await broadcast.results_async(return_exceptions=True)
                calls = await calls_of()
    except TimeoutError as error:
        return [error]
    except Unanswered as unanswered:
        return [unanswered.cause]
    return await asyncio.gather(*(_answer(c, deadline) for c in calls), return_exceptions=True)


async def _answer(call: Any, deadline: float) -> Any:
    try:
        async with asyncio.timeout_at(deadline):
            return await call.get_async()
    except (TimeoutError, asyncio.CancelledError):
        # Ending our wait does not end the call; this does.
        call.cancel()
        raise
