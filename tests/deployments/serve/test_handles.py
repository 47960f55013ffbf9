"""Each replica answers a broadcast for itself; calls made apart are nobody's children."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.exceptions import ActorUnavailableError, RayError
from ray.serve._private import replica_result
from ray.serve.handle import DeploymentBroadcastResponse

from deployments.serve.handles import Gone, Unanswered, answered, apart, each_outcome


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
    one, late, gone, four = await each_outcome(lambda: broadcast(calls), 0.05)
    assert (one, four) == (1, 4)
    assert isinstance(late, TimeoutError)
    assert isinstance(gone, OSError)
    assert [call.cancelled for call in calls] == [False, True, False, False]


async def test_calls_that_nobody_waits_for_any_more_are_cancelled() -> None:
    calls = [Call(None), Call(None)]
    waiting = asyncio.create_task(each_outcome(lambda: broadcast(calls), 60))
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
        async def results_async(self, *, return_exceptions: bool) -> list[Any]:
            return [1, return_exceptions]

    moved: Any = Moved()
    assert await each_outcome(lambda: moved, 3.0) == [1, True]


@pytest.mark.parametrize("why", [ActorUnavailableError("gone", None), KeyError("a bug"), None])
async def test_where_no_call_could_be_sent_one_exception_says_why(why: Exception | None) -> None:
    class Unsent:
        async def _fetch_replica_results_async(self) -> list[Any]:
            if why is None:
                await asyncio.Event().wait()
            raise why or AssertionError

    unsent: Any = Unsent()
    (outcome,) = await each_outcome(lambda: unsent, 0.01)
    assert outcome is why or (why is None and isinstance(outcome, TimeoutError))


async def test_a_broadcast_that_cannot_even_be_made_is_an_outcome() -> None:
    def refused() -> Any:
        raise RuntimeError("the handle is of another loop")

    (outcome,) = await each_outcome(refused, 0.01)
    assert isinstance(outcome, RuntimeError)


# ------------------------------------------------------------------ what a call may raise


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError("disk"), ImportError("no"), ValueError("bad"), KeyError("s")],
    ids=lambda e: type(e).__name__,
)
async def test_what_a_replica_raises_is_one_failure_with_one_traceback(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unanswered, match=type(error).__name__) as caught, answered("the load"):
        raise error
    assert (caught.value.cause, type(caught.value)) == (error, Unanswered)
    (record,) = caplog.records
    assert record.getMessage().startswith("the load: the call failed: ")
    assert record.msg.startswith("the load"), "which no repeated failure of another call holds back"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_a_call_that_was_lost_on_its_way_costs_a_line_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Unanswered), answered("the load"):
        raise RayError("worker crashed")
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


async def test_who_is_gone_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Gone), answered("the load"):
        raise ActorUnavailableError("gone", None)
    assert caplog.records == []


async def test_a_cancellation_stays_one_and_that_of_a_replica_is_a_failure() -> None:
    async def wait() -> None:
        with answered("the load"):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait()
    with pytest.raises(Unanswered, match="CancelledError"), answered("the load"):
        raise asyncio.CancelledError


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
