"""A line over real sockets: what its calls become, whatever becomes of the replica."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from deployments.lines import line as module
from deployments.lines.channel import CallFailed, ChannelLost
from deployments.lines.line import Line
from tests.deployments.lines.conftest import FRAMES, HOST, NODE, Replica, called, outcomes, until


async def line_to(replica: Replica) -> Line:
    line = Line(replica.name)
    await line.open(await replica.callee.address(NODE))
    return line


async def test_calls_overlap_and_each_has_its_own_answer(one: Replica) -> None:
    line = await line_to(one)
    calls = [asyncio.create_task(line.call(f"mode {n}", FRAMES)) for n in range(20)]
    await called(one, 20)
    assert line.unanswered == 20
    one.gate.set()
    assert await asyncio.gather(*calls) == [outcomes("one")] * 20
    assert line.unanswered == 0


async def test_what_fails_there_fails_here(one: Replica) -> None:
    one.gate.set()
    with pytest.raises(CallFailed, match=r"^ZeroDivisionError$"):
        await (await line_to(one)).call("fail", FRAMES)


async def test_a_call_that_nobody_waits_for_ends_there_too_and_is_answered(one: Replica) -> None:
    line = await line_to(one)
    call = asyncio.create_task(line.call("first", FRAMES))
    await called(one, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert line.unanswered == 1, "until the replica says so"
    await until(lambda: line.unanswered == 0)
    assert one.cancelled == ["first"]
    assert line.is_open


async def test_a_replica_that_leaves_answers_what_it_has_and_then_the_line_ends(
    one: Replica,
) -> None:
    line = await line_to(one)
    call = asyncio.create_task(line.call("last", FRAMES))
    await called(one, 1)
    leaving = asyncio.create_task(one.callee.leave())
    await until(lambda: not line.is_open)
    one.gate.set()
    assert await call == outcomes("one")
    await leaving  # for the line, which hangs up


@pytest.mark.parametrize("calls", [0, 2])
async def test_a_replica_that_dies_takes_its_calls_with_it_in_one_line(
    one: Replica, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    line = await line_to(one)
    waiting = [asyncio.create_task(line.call("person", FRAMES)) for _ in range(calls)]
    await called(one, calls)
    one.die()
    await until(lambda: not line.is_open)
    for call in waiting:
        with pytest.raises(ChannelLost):
            await call
    with pytest.raises(ChannelLost):
        await line.call("person", FRAMES)
    (record,) = caplog.records
    assert record.getMessage() == f"the line to one is lost, and {calls} calls with it"


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
        await Line("one").open(replace(await one.callee.address(NODE), port=port))
    await ended.wait()
    server.close()
