"""Each replica answers a broadcast for itself; calls made apart are nobody's children."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import replica_result
from ray.serve.handle import DeploymentBroadcastResponse

from deployments.serve.handles import apart, each_outcome


class Call:
    """One replica's part of a broadcast."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.cancelled = False

    async def get_async(self) -> Any:
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


def broadcast(calls: Sequence[Call]) -> DeploymentBroadcastResponse:
    async def sent() -> Any:
        return calls

    return DeploymentBroadcastResponse(sent(), None)


async def test_each_replica_answers_a_broadcast_for_itself() -> None:
    calls = [Call(1), Call(None), Call(OSError("gone")), Call(4)]
    one, late, gone, four = await each_outcome(broadcast(calls), 0.05)
    assert (one, four) == (1, 4)
    assert isinstance(late, TimeoutError)
    assert isinstance(gone, OSError)
    assert [call.cancelled for call in calls] == [False, True, False, False]


async def test_calls_that_nobody_waits_for_any_more_are_cancelled() -> None:
    calls = [Call(None), Call(None)]
    waiting = asyncio.create_task(each_outcome(broadcast(calls), 60))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert all(call.cancelled for call in calls)


async def test_serves_own_collection_still_loses_all_where_one_is_late() -> None:
    with pytest.raises(TimeoutError):
        await broadcast([Call(1), Call(None)]).results_async(timeout_s=0.05, return_exceptions=True)


async def test_where_the_private_part_moved_it_is_all_or_nothing() -> None:
    class Moved:
        async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> list[Any]:
            return [timeout_s, return_exceptions]

    moved: Any = Moved()
    assert await each_outcome(moved, 3.0) == [3.0, True]


def test_the_results_of_serve_can_be_awaited_and_cancelled_one_by_one() -> None:
    assert inspect.iscoroutinefunction(DeploymentBroadcastResponse._fetch_replica_results_async)
    for kind in (replica_result.gRPCReplicaResult, replica_result.ActorReplicaResult):
        assert callable(kind.get_async)
        assert callable(kind.cancel)


async def test_a_call_that_is_made_apart_is_no_child_of_the_request() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    request.set("one whose client may leave")

    def remote(first: int, *, second: int) -> tuple[str, int]:
        return request.get(), first + second

    assert apart(remote, 1, second=2) == ("none", 3)
    assert request.get() == "one whose client may leave"
