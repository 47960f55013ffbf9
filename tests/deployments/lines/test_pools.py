"""Ray's many ways to fail become the few that a session knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import grpc
import pytest
from ray.exceptions import ActorUnavailableError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.lines import pools as module
from deployments.lines.caller import NoReplica
from deployments.lines.channel import CallFailed, ChannelLost
from deployments.lines.pools import Pools, StatsPool
from ingress.dispatch.flight import AnalysisFailed, ModeFailed
from ingress.service import StatsFailed
from models.view import View
from models.work import FrameFailure, FrameRequest


class Response:
    """A handle's response: what it gives, or a wait without end."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        if self.outcome is None:
            await asyncio.Event().wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True

    async def results_async(self) -> Any:
        return await self._wait()


class Handle:
    """A deployment handle on which every method answers alike."""

    deployment_name = "segmenter-main"

    def __init__(self, outcome: Any) -> None:
        self.response = Response(outcome)
        self.over_grpc = self.pickled = False
        self.said: list[Any] = []

    def options(
        self, *, _by_reference: bool, request_serialization: str, response_serialization: str
    ) -> Handle:
        self.over_grpc = not _by_reference
        self.pickled = (request_serialization, response_serialization) == ("pickle", "pickle")
        return self

    def __getattr__(self, method: str) -> Handle:
        self.said.append(method)
        return self

    def remote(self, *args: Any) -> Response:
        self.said.append(args)
        return self.response

    def broadcast(self, method: str, *args: Any) -> Response:
        self.said.append((method, *args))
        return self.response


FRAMES = [FrameRequest(b"x", View())]
OUTCOME = FrameFailure("FRAME_REJECTED", "why")
GONE = [
    ActorUnavailableError("gone", b"0" * 16),
    BackPressureError(num_queued_requests=1, max_queued_requests=1),
    DeploymentUnavailableError(None),  # type: ignore[arg-type]
]
FAILED = [
    RayError("worker crashed"),
    RuntimeError("Unexpected error"),
    grpc.RpcError(),
]
# What a replica raises comes over gRPC as it is.
RAISED = [MemoryError(), OSError("/etc/secret"), ImportError("no module"), ValueError("shapes"),
          KeyError("s"), asyncio.CancelledError()]  # fmt: skip


def pools(handle: Handle) -> Pools:
    return Pools({"person": handle, "parts": handle})  # type: ignore[dict-item]


class PlayedCaller:
    """A caller whose calls all end alike."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.called: list[Any] = []

    async def call(self, *arguments: Any) -> Any:
        self.called.append(arguments)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[PlayedCaller]]:
    """Have every pool's caller played; returns those that were made since."""

    def play(outcome: Any) -> list[PlayedCaller]:
        made: list[PlayedCaller] = []

        def make(handle: Handle) -> PlayedCaller:
            made.append(PlayedCaller(outcome))
            return made[-1]

        monkeypatch.setattr(module, "Caller", make)
        return made

    return play


async def test_calls_go_to_the_pool_of_the_mode_with_the_frames_as_they_are(
    play: Callable[[Any], list[PlayedCaller]],
) -> None:
    made = play([OUTCOME])
    both = pools(Handle(None))
    for mode in ("person", "parts"):
        assert await both.analyze(mode, FRAMES) == [OUTCOME]
    (caller,) = made
    assert caller.called == [("person", FRAMES), ("parts", FRAMES)]


@pytest.mark.parametrize(
    ("error", "unavailable", "lines"),
    [
        (NoReplica("TimeoutError"), True, ["mode person: no replica took a call: TimeoutError"]),
        (ChannelLost(), True, []),  # its line has told of it
        (CallFailed("ValueError"), False, ["mode person: a call failed: ValueError"]),
    ],
    ids=lambda case: type(case).__name__,
)
async def test_a_call_without_an_answer_costs_one_line_at_most(
    error: Exception,
    unavailable: bool,
    lines: list[str],
    play: Callable[[Any], list[PlayedCaller]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    play(error)
    with pytest.raises(AnalysisFailed) as caught:
        await pools(Handle(None)).analyze("person", FRAMES)
    assert caught.value.unavailable is unavailable
    assert [record.getMessage() for record in caplog.records] == lines


async def test_who_asks_whether_a_replica_is_there_is_told_and_nobody_else(
    play: Callable[[Any], list[PlayedCaller]], caplog: pytest.LogCaptureFixture
) -> None:
    play(NoReplica("TimeoutError"))
    with pytest.raises(AnalysisFailed):
        await pools(Handle(None)).analyze("person", ())
    assert caplog.records == []


@pytest.mark.parametrize("error", GONE, ids=lambda e: type(e).__name__)
async def test_a_mode_whose_replicas_are_gone_may_be_asked_for_again(error: Exception) -> None:
    with pytest.raises(ModeFailed, match="try again"):
        await pools(Handle(error)).prepare("person")


@pytest.mark.parametrize("error", [*FAILED, *RAISED], ids=lambda e: type(e).__name__)
async def test_a_call_of_serves_that_fails_is_said_in_words_for_the_peer(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModeFailed) as mode:
        await pools(Handle(error)).prepare("person")
    assert str(mode.value) == "person could not be loaded; the mode before it goes on"
    with pytest.raises(StatsFailed) as stats:
        await StatsPool(Handle(error), 1.0).scene("person", [])  # type: ignore[arg-type]
    assert str(stats.value) == "the statistics are not available; try again"
    assert len(caplog.records) == 2, "one line for each"


async def test_statistics_that_nobody_waits_for_are_cancelled_in_the_replica_too() -> None:
    handle = Handle(None)
    stats = StatsPool(handle, 60.0)  # type: ignore[arg-type]
    call = asyncio.create_task(stats.scene("person", []))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert handle.response.cancelled


async def test_statistics_have_a_deadline() -> None:
    handle = Handle(None)
    with pytest.raises(StatsFailed, match="too long"):
        await StatsPool(handle, 0.01).scene("person", [])  # type: ignore[arg-type]
    assert handle.response.cancelled


async def test_a_mode_is_prepared_in_every_replica() -> None:
    handle = Handle([None, None])
    await pools(handle).prepare("person")
    assert handle.said[-1] == ("prepare", "person")
    assert handle.over_grpc
    assert handle.pickled
