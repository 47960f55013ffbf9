"""Which replica a call goes to; Serve's part, who is there, is played."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.lines import caller as module
from deployments.lines.caller import Caller, NoReplica
from deployments.lines.channel import ChannelLost
from deployments.lines.handshake import Handshake
from models.work import FrameFailure, FrameOutcome
from tests.deployments.lines.conftest import FRAMES, HOST, NODE, Replica, called, outcomes, until


class Broadcast:
    """Serve's answer to ``handle.broadcast``: one part for each replica, private or not."""

    def __init__(self, parts: Sequence[Callable[[], Awaitable[Any]]] | Exception) -> None:
        self._parts = parts

    async def _fetch_replica_results_async(self) -> list[Part]:
        if isinstance(self._parts, Exception):
            raise self._parts
        return [Part(part) for part in self._parts]


class Part:
    def __init__(self, ask: Callable[[], Awaitable[Any]]) -> None:
        self._ask = ask

    async def get_async(self) -> Any:
        return await self._ask()

    def cancel(self) -> None: ...


class Handle:
    """A deployment handle whose replicas come and go."""

    deployment_name = "segmenter-main"

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = list(replicas)
        self.asked = 0

    def options(self, **_: Any) -> Handle:
        return self

    def broadcast(self, method: str, asker: str) -> Broadcast:
        assert (method, asker) == ("address", NODE)
        self.asked += 1
        if not self.replicas:
            return Broadcast(DeploymentUnavailableError(None))  # type: ignore[arg-type]
        return Broadcast([partial(replica.callee.address, asker) for replica in self.replicas])


def said(answered: Sequence[FrameOutcome]) -> str:
    """The name of the replica that answered so."""
    (failure,) = answered
    assert isinstance(failure, FrameFailure)
    return failure.message


def caller_of(handle: Handle) -> Caller:
    return Caller(handle)  # type: ignore[arg-type]


async def test_a_call_goes_to_the_replica_that_has_the_fewest(one: Replica, two: Replica) -> None:
    caller = caller_of(handle := Handle(one, two))
    calls = [asyncio.create_task(caller.call("person", FRAMES)) for _ in range(6)]
    await until(lambda: len(one.calls) + len(two.calls) == 6)
    assert len(one.calls) == len(two.calls) == 3
    two.gate.set()
    await until(lambda: sum(call.done() for call in calls) == 3)
    calls += [asyncio.create_task(caller.call("person", FRAMES)) for _ in range(3)]
    await called(two, 6)
    assert len(one.calls) == 3
    one.gate.set()
    assert Counter(map(said, await asyncio.gather(*calls))) == {"one": 3, "two": 6}
    assert handle.asked == 1, "one look serves all who came at once, and those of the next moment"


async def test_a_replica_that_hangs_gets_no_more_while_another_answers(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_of(Handle(one, two))
    two.gate.set()
    hung = asyncio.create_task(caller.call("person", FRAMES))
    await called(one, 1)
    # It takes no notice of what comes to it: neither calls nor cancellations.
    monkeypatch.setattr(one.callee, "received", lambda *_: None)
    hung.cancel()
    for _ in range(10):
        assert await caller.call("person", FRAMES) == outcomes("two")


async def test_nobody_there_is_said_a_moment_later_and_not_asked_by_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.05)
    caller = caller_of(handle := Handle())
    began_at = asyncio.get_running_loop().time()
    calls = (caller.call("person", FRAMES) for _ in range(10))
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(failure, NoReplica) for failure in failed)
    assert {str(failure) for failure in failed} == {"DeploymentUnavailableError"}
    assert handle.asked == 1
    assert asyncio.get_running_loop().time() - began_at >= 0.05


async def test_a_replica_that_came_back_is_found(one: Replica, two: Replica) -> None:
    caller = caller_of(handle := Handle(one))
    one.gate.set()
    two.gate.set()
    assert await caller.call("person", FRAMES) == outcomes("one")
    one.die()
    handle.replicas = []
    with pytest.raises((NoReplica, ChannelLost)):
        await caller.call("person", FRAMES)
    handle.replicas = [two]
    assert await caller.call("person", FRAMES) == outcomes("two")


async def test_a_replica_that_is_listed_and_gone_is_left_out(
    one: Replica, two: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caller = caller_of(Handle(one, two))
    await one.callee.address(NODE)
    await one.callee.leave()
    two.gate.set()
    assert [await caller.call("person", FRAMES) for _ in range(3)] == [outcomes("two")] * 3
    (record,) = caplog.records
    assert "replica one, which Serve lists, is not to be reached at 127.0.0.1" in record.message


async def test_a_replica_of_another_version_is_no_replica_and_costs_one_line(
    one: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0)
    address = await one.callee.address(NODE)
    hello, gone = Handshake(address.key, calls=False).hello, asyncio.Event()

    async def newer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello[:3] + b"\x63" + hello[4:])
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(newer, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setitem(one.callee._addresses, HOST, replace(address, port=port))
    with pytest.raises(NoReplica):
        await caller_of(Handle(one)).call("person", FRAMES)
    (record,) = caplog.records
    assert "version 99 of the lines, this side 2" in record.getMessage()
    await gone.wait()
    server.close()


async def test_a_replica_that_came_while_calls_are_made_is_found(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_of(handle := Handle(one))
    one.gate.set()
    two.gate.set()
    await caller.call("person", FRAMES)
    handle.replicas.append(two)
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0)

    async def answers() -> None:
        found: set[str] = set()
        while found != {"one", "two"}:
            both = (caller.call("person", FRAMES), caller.call("person", FRAMES))
            found = set(map(said, await asyncio.gather(*both)))

    await asyncio.wait_for(answers(), 10)


async def test_what_fails_in_serve_is_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0)
    handle = Handle()

    async def crashed() -> Any:
        raise RuntimeError("Unexpected error")

    monkeypatch.setattr(handle, "broadcast", lambda *_: Broadcast([crashed]))
    with pytest.raises(NoReplica, match="RuntimeError"):
        await caller_of(handle).call("person", FRAMES)
