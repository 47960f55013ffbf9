"""A port for calls, as who connects to it meets it: one side played, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from deployments.lines import callee as module
from deployments.lines import channel as channel_module
from deployments.lines.callee import Callee
from deployments.lines.channel import CallFailed, Channel
from deployments.lines.messages import (
    Answer,
    Call,
    Cancel,
    Leaving,
    Refusal,
    Reply,
    Request,
    read_reply,
)
from models.work import FrameOutcome, FrameRequest, FrameResult
from tests.deployments.lines.conftest import FRAMES, HOST, NODE, Replica, called, outcomes, until

HELLO_BYTES = 36


class Peer:
    """The other end of a channel: what it heard, and whether it has ended."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Reply] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.channel: Channel
        self._known = asyncio.Event()

    async def meet(self, callee: Callee, asker: str = NODE) -> Peer:
        address = await callee.address(asker)
        self.channel = Channel(self, address.key, calls=True)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self.channel, address.host, address.port)
        await self._known.wait()
        return self

    async def hang_up(self) -> None:
        self.channel.abort()
        await self.ended.wait()

    def calls(self, number: int, mode: str = "person") -> None:
        self.says(Call(number, mode, FRAMES))

    def says(self, message: Request) -> None:
        self.channel.send(message.parts())

    def met(self, channel: Channel) -> None:
        self._known.set()

    def received(self, channel: Channel, body: memoryview) -> None:
        self.messages.put_nowait(read_reply(body))

    def lost(self, channel: Channel, why: str) -> None:
        self.ended.set()


async def stranger(callee: Callee) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = await callee.address(NODE)
    return await asyncio.open_connection(address.host, address.port)


async def thrown_out(reader: asyncio.StreamReader) -> bool:
    """True once the connection has been ended, with nothing said but hello."""
    try:
        return len(await reader.read()) == HELLO_BYTES
    except ConnectionError:
        return True


async def test_a_port_is_opened_by_who_first_asks_for_it(one: Replica) -> None:
    assert not one.callee.listens
    first, second = await asyncio.gather(one.callee.address(NODE), one.callee.address(NODE))
    assert first is second is await one.callee.address(NODE)
    assert (first.replica, first.host) == ("one", HOST)
    assert one.callee.listens


async def test_only_who_asks_from_another_node_has_a_port_opened_to_the_outside(
    one: Replica,
) -> None:
    one.gate.set()
    near = await Peer().meet(one.callee)
    assert [port.sockets[0].getsockname()[0] for port in one.callee._ports] == [HOST]
    far = await Peer().meet(one.callee, asker="10.0.0.7")
    assert (await one.callee.address("10.0.0.7")).host == NODE
    assert len(one.callee._ports) == 2, "the second is opened once"
    for peer in (near, far):
        peer.calls(1)
        assert await peer.messages.get() == Answer(1, outcomes("one"))


# ------------------------------------------------------------------ strangers


async def test_who_says_nothing_is_thrown_out(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOW_S", 0.02)
    reader, writer = await stranger(one.callee)
    assert await thrown_out(reader)
    writer.close()


async def test_who_has_not_the_key_costs_one_line(
    one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await stranger(one.callee)
    writer.write((await reader.readexactly(HELLO_BYTES)) + b"x" * 32)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    assert [record.getMessage() for record in caplog.records] == [
        "somebody was turned away at a port for calls: it has not the key"
    ]
    writer.close()


async def test_strangers_are_few_at_a_time_and_the_oldest_give_way(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRANGERS", 2)
    strangers = [await stranger(one.callee) for _ in range(6)]
    for reader, _ in strangers[:4]:
        assert await thrown_out(reader)
    assert not any(reader.at_eof() for reader, _ in strangers[4:])
    peer = await Peer().meet(one.callee)  # a caller gets in all the same
    one.gate.set()
    peer.calls(1)
    assert await peer.messages.get() == Answer(1, outcomes("one"))
    for _, writer in strangers:
        writer.close()


async def test_who_was_met_is_no_stranger_any_more(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRANGERS", 1)
    first, second = await Peer().meet(one.callee), await Peer().meet(one.callee)
    one.gate.set()
    for peer in (first, second):
        peer.calls(1)
        assert await peer.messages.get() == Answer(1, outcomes("one"))


# ------------------------------------------------------------------ calls


async def test_each_call_is_answered_by_its_number_when_it_is_done(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    peer.calls(1, "parts")
    peer.calls(2, "fail")
    await called(one, 2)
    assert one.calls == ["parts", "fail"]
    one.gate.set()
    assert await peer.messages.get() == Answer(1, outcomes("one"))
    assert await peer.messages.get() == Refusal(2, "ZeroDivisionError")


async def test_what_failed_is_told_in_the_log_of_its_own_side(
    one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await Peer().meet(one.callee)
    one.gate.set()
    peer.calls(1, "fail")
    refusal = await peer.messages.get()
    assert isinstance(refusal, Refusal)
    assert "not for the other side" not in refusal.why
    assert "not for the other side" in caplog.text


async def test_an_outcome_that_cannot_be_written_fails_alone(sockets: None) -> None:
    lacking = FrameResult(b"", "", 1, 1, (), b"", {"decode": 1.0})

    async def answer(mode: str, frames: Sequence[FrameRequest]) -> list[FrameOutcome]:
        return [lacking] if mode == "lacking" else outcomes("one")

    callee = Callee("one", NODE, answer)
    peer = await Peer().meet(callee)
    peer.calls(1, "lacking")
    peer.calls(2)
    heard = [await peer.messages.get(), await peer.messages.get()]
    assert heard == [Refusal(1, "ValueError"), Answer(2, outcomes("one"))]
    await peer.hang_up()
    await callee.leave()


async def test_an_answer_that_is_too_long_is_a_call_that_failed(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_LONGEST", 400)
    one.name = "x" * 500
    one.gate.set()
    peer = await Peer().meet(one.callee)
    peer.calls(1)
    refusal = await peer.messages.get()
    assert isinstance(refusal, Refusal)
    assert "at most 400 are taken" in refusal.why


async def test_a_cancelled_call_is_ended_and_answered_once(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    peer.calls(1, "first")
    await called(one, 1)
    peer.says(Cancel(1))
    assert await peer.messages.get() == Refusal(1, "cancelled")
    assert one.cancelled == ["first"]
    peer.says(Cancel(1))  # and for a call that was answered it comes too late
    one.gate.set()
    peer.calls(2)
    assert await peer.messages.get() == Answer(2, outcomes("one"))


async def test_a_call_whose_cancellation_comes_with_it_is_answered_too(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    await until(lambda: len(one.callee._callers) == 1)
    (channel,) = one.callee._callers
    for message in (Call(1, "first", FRAMES), Cancel(1)):  # uvloop reads on before the loop goes
        one.callee.received(channel, memoryview(b"".join(message.parts())))
    assert await peer.messages.get() == Refusal(1, "cancelled")
    assert one.calls == []


async def test_who_uses_a_number_twice_is_let_go_in_one_line(
    one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await Peer().meet(one.callee)
    peer.calls(1, "first")
    peer.calls(1, "second")
    await peer.ended.wait()
    await until(lambda: not one.callee._callers)
    assert [record.getMessage() for record in caplog.records] == [
        "a caller is let go: it sent another call 1 while that is under way"
    ]
    assert "second" not in one.calls


async def test_a_caller_that_goes_takes_its_calls_along_and_no_others(one: Replica) -> None:
    going, staying = await Peer().meet(one.callee), await Peer().meet(one.callee)
    going.calls(1, "first")
    staying.calls(1, "second")
    await called(one, 2)
    await going.hang_up()
    await until(lambda: one.cancelled == ["first"])
    one.gate.set()
    assert await staying.messages.get() == Answer(1, outcomes("one"))
    assert one.cancelled == ["first"]


# ------------------------------------------------------------------ the end


async def test_who_leaves_waits_until_every_caller_had_its_answers(one: Replica) -> None:
    due, idle = await Peer().meet(one.callee), await Peer().meet(one.callee)
    due.calls(1)
    await called(one, 1)
    leaving = asyncio.create_task(one.callee.leave())
    for peer in (due, idle):
        assert await peer.messages.get() == Leaving()
    assert not one.callee.listens
    await idle.hang_up()
    one.gate.set()
    assert await due.messages.get() == Answer(1, outcomes("one"))
    assert not leaving.done(), "until it has hung up"
    await due.hang_up()
    await leaving


async def test_a_caller_that_dies_is_waited_for_no_longer(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    peer.calls(1)
    await called(one, 1)
    leaving = asyncio.create_task(one.callee.leave())
    await peer.hang_up()
    await leaving


async def test_who_leaves_throws_strangers_out_and_is_where_it_was(one: Replica) -> None:
    address = await one.callee.address(NODE)
    reader, writer = await stranger(one.callee)
    await until(lambda: len(one.callee._strangers) == 1)
    await one.callee.leave()
    assert await thrown_out(reader)
    with pytest.raises(ConnectionRefusedError):
        await stranger(one.callee)
    assert await one.callee.address(NODE) is address
    writer.close()


async def test_who_has_left_opens_no_more_ports(one: Replica) -> None:
    await one.callee.leave()
    with pytest.raises(CallFailed, match="no more calls"):
        await one.callee.address(NODE)
    assert not one.callee.listens
