"""Both ends of calls over real sockets; Serve's part, who is there, is played."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.lines import callee as callee_module
from deployments.lines import caller as module
from deployments.lines.callee import Callee
from deployments.lines.caller import Line, Lines, NoReplica
from deployments.lines.channel import CallFailed, ChannelLost

HOST = "127.0.0.1"


class Replica:
    """A replica whose calls wait until they are let through."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callee = Callee(name, HOST, self.answer)
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled: list[tuple[Any, ...]] = []
        self.gate = asyncio.Event()

    async def answer(self, *arguments: Any) -> str:
        self.calls.append(arguments)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(arguments)
            raise
        if "fail" in arguments:
            raise ZeroDivisionError("not for the other side")
        return self.name

    def die(self) -> None:
        """What the system does to the sockets of a process that was killed."""
        for channel in (*self.callee._callers, *self.callee._strangers):
            channel.abort()
        if self.callee._server is not None:
            self.callee._server.close()


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

    def broadcast(self, method: str) -> Broadcast:
        assert method == "address"
        self.asked += 1
        if not self.replicas:
            return Broadcast(DeploymentUnavailableError(None))  # type: ignore[arg-type]
        return Broadcast([replica.callee.address for replica in self.replicas])


def lines_to(handle: Handle) -> Lines:
    return Lines(handle)  # type: ignore[arg-type]


async def until(met: Callable[[], bool]) -> None:
    """Let the loop go round until ``met``; pytest's own deadline ends what never is."""
    while not met():  # noqa: ASYNC110 - what is waited for is not ours to signal
        await asyncio.sleep(0.001)


async def called(replica: Replica, count: int) -> None:
    await until(lambda: len(replica.calls) == count)


@pytest.fixture
async def sockets() -> AsyncIterator[None]:
    """Comes to its end when the sockets of a test have."""
    yield
    transports: dict[int, Any] = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]
    await until(lambda: all(transport._sock is None for transport in list(transports.values())))


@pytest.fixture
async def one(sockets: None) -> AsyncIterator[Replica]:
    replica = Replica("one")
    yield replica
    replica.die()


@pytest.fixture
async def two(sockets: None) -> AsyncIterator[Replica]:
    replica = Replica("two")
    yield replica
    replica.die()


async def line_to(replica: Replica) -> Line:
    line = Line(replica.name)
    await line.open(await replica.callee.address())
    return line


async def test_calls_overlap_and_each_has_its_own_answer(one: Replica) -> None:
    line = await line_to(one)
    calls = [asyncio.create_task(line.call(n, b"x" * 100_000)) for n in range(20)]
    await called(one, 20)
    assert line.unanswered == 20
    one.gate.set()
    assert await asyncio.gather(*calls) == ["one"] * 20
    assert line.unanswered == 0


async def test_what_fails_there_is_said_without_its_words(
    one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    one.gate.set()
    with pytest.raises(CallFailed, match=r"^ZeroDivisionError$"):
        await (await line_to(one)).call("fail")
    assert "not for the other side" in caplog.text, "but in the log of its own side"


async def test_a_call_that_nobody_waits_for_ends_there_too_and_is_answered(one: Replica) -> None:
    line = await line_to(one)
    call = asyncio.create_task(line.call("first"))
    await called(one, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert line.unanswered == 1, "until the replica says so"
    await until(lambda: line.unanswered == 0)
    assert one.cancelled == [("first",)]
    assert line.is_open


async def test_a_replica_that_leaves_answers_what_it_has(one: Replica) -> None:
    line = await line_to(one)
    call = asyncio.create_task(line.call("last"))
    await called(one, 1)
    leaving = asyncio.create_task(one.callee.leave())
    await until(lambda: not line.is_open)
    assert not one.callee.listens
    assert not leaving.done()
    one.gate.set()
    assert await call == "one"
    await leaving
    assert (await one.callee.address()).replica == "one", "where it was"


async def test_a_replica_that_is_due_nothing_leaves_at_once(one: Replica, two: Replica) -> None:
    await one.callee.leave()
    await line_to(two)
    await two.callee.leave()


@pytest.mark.parametrize("calls", [0, 2])
async def test_a_replica_that_dies_takes_its_calls_with_it_in_one_line(
    one: Replica, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    line = await line_to(one)
    waiting = [asyncio.create_task(line.call(n)) for n in range(calls)]
    await called(one, calls)
    one.die()
    await until(lambda: not line.is_open)
    for call in waiting:
        with pytest.raises(ChannelLost):
            await call
    with pytest.raises(ChannelLost):
        await line.call("too late")
    (record,) = caplog.records
    assert record.getMessage() == f"the line to one is lost, and {calls} calls with it"


async def test_a_caller_that_dies_takes_its_calls_with_it(one: Replica) -> None:
    line = await line_to(one)
    call = asyncio.create_task(line.call("first"))
    await called(one, 1)
    line._opened.result().abort()
    await until(lambda: one.cancelled == [("first",)])
    with pytest.raises(ChannelLost):
        await call
    await one.callee.leave()


async def test_who_says_nothing_is_hung_up_on(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callee_module, "SHOW_S", 0.02)
    address = await one.callee.address()
    reader, writer = await asyncio.open_connection(address.host, address.port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


async def test_strangers_are_few_at_a_time(one: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callee_module, "_STRANGERS", 2)
    address = await one.callee.address()
    strangers = [await asyncio.open_connection(address.host, address.port) for _ in range(6)]
    await until(lambda: len(one.callee._strangers) <= 2)
    line = await line_to(one)  # a caller gets in all the same
    one.gate.set()
    assert await line.call() == "one"
    for _, writer in strangers:
        writer.close()


async def test_a_line_to_who_says_nothing_is_given_up(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOW_S", 0.02)
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silent, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(TimeoutError):
        await Line("one").open(replace(await one.callee.address(), port=port))
    await ended.wait()
    server.close()


async def test_a_call_goes_to_the_replica_that_has_the_fewest(one: Replica, two: Replica) -> None:
    lines = lines_to(handle := Handle(one, two))
    calls = [asyncio.create_task(lines.call(n)) for n in range(6)]
    await until(lambda: len(one.calls) + len(two.calls) == 6)
    assert len(one.calls) == len(two.calls) == 3
    two.gate.set()
    await until(lambda: sum(call.done() for call in calls) == 3)
    calls += [asyncio.create_task(lines.call(n)) for n in range(3)]
    await called(two, 6)
    assert len(one.calls) == 3
    one.gate.set()
    assert sorted(await asyncio.gather(*calls)) == ["one"] * 3 + ["two"] * 6
    assert handle.asked == 1, "one look serves all who came at once, and those of the next moment"


async def test_a_replica_that_hangs_gets_no_more_while_another_answers(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_to(Handle(one, two))
    two.gate.set()
    hung = asyncio.create_task(lines.call())
    await called(one, 1)
    # It takes no notice of what comes to it: neither calls nor cancellations.
    monkeypatch.setattr(one.callee, "received", lambda *_: None)
    hung.cancel()
    for _ in range(10):
        assert await lines.call() == "two"


async def test_nobody_there_is_said_a_moment_later_and_not_asked_by_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.05)
    lines = lines_to(handle := Handle())
    began_at = asyncio.get_running_loop().time()
    failed = await asyncio.gather(*(lines.call() for _ in range(10)), return_exceptions=True)
    assert all(isinstance(failure, NoReplica) for failure in failed)
    assert {str(failure) for failure in failed} == {"DeploymentUnavailableError"}
    assert handle.asked == 1
    assert asyncio.get_running_loop().time() - began_at >= 0.05


async def test_a_replica_that_came_back_is_found(one: Replica, two: Replica) -> None:
    lines = lines_to(handle := Handle(one))
    one.gate.set()
    two.gate.set()
    assert await lines.call() == "one"
    one.die()
    handle.replicas = []
    with pytest.raises((NoReplica, ChannelLost)):
        await lines.call()
    handle.replicas = [two]
    assert await lines.call() == "two"


async def test_a_replica_that_is_listed_and_gone_is_left_out(
    one: Replica, two: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines = lines_to(Handle(one, two))
    await one.callee.leave()
    await one.callee.address()
    one.die()
    two.gate.set()
    assert [await lines.call() for _ in range(3)] == ["two"] * 3
    (record,) = caplog.records
    assert "replica one, which Serve lists, is not to be reached at 127.0.0.1" in record.message


async def test_a_replica_that_came_while_calls_are_made_is_found(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_to(handle := Handle(one))
    one.gate.set()
    two.gate.set()
    await lines.call()
    handle.replicas.append(two)
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0)

    async def answers() -> None:
        while set(await asyncio.gather(lines.call(), lines.call())) != {"one", "two"}:
            pass

    await asyncio.wait_for(answers(), 10)


async def test_what_fails_in_serve_is_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0)
    handle = Handle()

    async def crashed() -> Any:
        raise RuntimeError("Unexpected error")

    monkeypatch.setattr(handle, "broadcast", lambda _: Broadcast([crashed]))
    with pytest.raises(NoReplica, match="RuntimeError"):
        await lines_to(handle).call()
