"""A port for calls, as who connects to it meets it: one side played, on real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployments.lines import callee as module
from deployments.lines import channel as channel_module
from deployments.lines.callee import Callee
from deployments.lines.channel import LEAVING, CallFailed, Channel
from tests.deployments.lines.conftest import HOST, Replica, called, until


class Peer:
    """The other end of a channel: what it heard, and whether it has ended."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.channel: Channel
        self._known = asyncio.Event()

    async def meet(self, callee: Callee) -> Peer:
        address = await callee.address()
        self.channel = Channel(self, address.key, calls=True)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self.channel, address.host, address.port)
        await self._known.wait()
        return self

    async def hang_up(self) -> None:
        self.channel.abort()
        await self.ended.wait()

    async def hears(self, number: int) -> Any:
        """The outcome of the call of that number, which must be the next message."""
        heard, outcome = await self.messages.get()
        assert heard == number
        return outcome

    def met(self, channel: Channel) -> None:
        self._known.set()

    def received(self, channel: Channel, message: Any) -> None:
        self.messages.put_nowait(message)

    def lost(self, channel: Channel) -> None:
        self.ended.set()


async def stranger(callee: Callee) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = await callee.address()
    return await asyncio.open_connection(address.host, address.port)


async def thrown_out(reader: asyncio.StreamReader) -> bool:
    """True once the connection has been ended, before the other half of the key was shown."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_the_port_is_opened_by_who_first_asks_for_it(one: Replica) -> None:
    assert not one.callee.listens
    first, second = await asyncio.gather(one.callee.address(), one.callee.address())
    assert first is second is await one.callee.address()
    assert (first.replica, first.host) == ("one", HOST)
    assert one.callee.listens


# ------------------------------------------------------------------ strangers


async def test_who_says_nothing_is_thrown_out(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOW_S", 0.02)
    reader, writer = await stranger(one.callee)
    assert await thrown_out(reader)
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
    peer.channel.send((1, ()))
    assert await peer.hears(1) == "one"
    for _, writer in strangers:
        writer.close()


async def test_who_was_met_is_no_stranger_any_more(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRANGERS", 1)
    first, second = await Peer().meet(one.callee), await Peer().meet(one.callee)
    one.gate.set()
    for peer in (first, second):
        peer.channel.send((1, ()))
        assert await peer.hears(1) == "one"


# ------------------------------------------------------------------ calls


async def test_each_call_is_answered_by_its_number_when_it_is_done(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    peer.channel.send((1, ("mode", b"frames")))
    peer.channel.send((2, ("fail",)))
    await called(one, 2)
    assert one.calls == [("mode", b"frames"), ("fail",)]
    one.gate.set()
    assert await peer.hears(1) == "one"
    assert str(await peer.hears(2)) == "ZeroDivisionError"


async def test_what_failed_is_told_in_the_log_of_its_own_side(
    one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await Peer().meet(one.callee)
    one.gate.set()
    peer.channel.send((1, ("fail",)))
    outcome = await peer.hears(1)
    assert isinstance(outcome, CallFailed)
    assert "not for the other side" not in str(outcome)
    assert "not for the other side" in caplog.text


async def test_arguments_of_another_version_fail_alone(sockets: None) -> None:
    async def answer(mode: str) -> str:
        return mode

    callee = Callee("one", HOST, answer)
    peer = await Peer().meet(callee)
    peer.channel.send((1, ("person", "and more")))
    peer.channel.send((2, ("person",)))
    answers = dict([await peer.messages.get(), await peer.messages.get()])
    assert str(answers[1]) == "TypeError"
    assert answers[2] == "person"
    await peer.hang_up()
    await callee.leave()


async def test_an_answer_that_is_too_long_is_a_call_that_failed(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_LONGEST", 200)
    one.name = "x" * 300
    one.gate.set()
    peer = await Peer().meet(one.callee)
    peer.channel.send((1, ()))
    assert "at most 200 are taken" in str(await peer.hears(1))


async def test_a_cancelled_call_is_ended_and_answered_once(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    peer.channel.send((1, ("first",)))
    await called(one, 1)
    peer.channel.send((1, None))
    assert str(await peer.hears(1)) == "cancelled"
    assert one.cancelled == [("first",)]
    peer.channel.send((1, None))  # and for a call that was answered it comes too late
    one.gate.set()
    peer.channel.send((2, ()))
    assert await peer.hears(2) == "one"


async def test_a_call_whose_cancellation_comes_with_it_is_answered_too(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    await until(lambda: len(one.callee._callers) == 1)
    (channel,) = one.callee._callers
    one.callee.received(channel, (1, ("first",)))  # uvloop reads on before the loop goes round
    one.callee.received(channel, (1, None))
    assert str(await peer.hears(1)) == "cancelled"
    assert one.calls == []


async def test_a_caller_that_goes_takes_its_calls_along_and_no_others(one: Replica) -> None:
    going, staying = await Peer().meet(one.callee), await Peer().meet(one.callee)
    going.channel.send((1, ("first",)))
    staying.channel.send((1, ("second",)))
    await called(one, 2)
    await going.hang_up()
    await until(lambda: one.cancelled == [("first",)])
    one.gate.set()
    assert await staying.hears(1) == "one"
    assert one.cancelled == [("first",)]


# ------------------------------------------------------------------ the end


async def test_who_leaves_waits_until_every_caller_had_its_answers(one: Replica) -> None:
    due, idle = await Peer().meet(one.callee), await Peer().meet(one.callee)
    due.channel.send((1, ()))
    await called(one, 1)
    leaving = asyncio.create_task(one.callee.leave())
    for peer in (due, idle):
        assert await peer.messages.get() == LEAVING
    assert not one.callee.listens
    await idle.hang_up()
    one.gate.set()
    assert await due.hears(1) == "one"
    assert not leaving.done(), "until it has hung up"
    await due.hang_up()
    await leaving


async def test_a_caller_that_dies_is_waited_for_no_longer(one: Replica) -> None:
    peer = await Peer().meet(one.callee)
    peer.channel.send((1, ()))
    await called(one, 1)
    leaving = asyncio.create_task(one.callee.leave())
    await peer.hang_up()
    await leaving


async def test_who_leaves_throws_strangers_out_and_is_where_it_was(one: Replica) -> None:
    address = await one.callee.address()
    reader, writer = await stranger(one.callee)
    await until(lambda: len(one.callee._strangers) == 1)
    await one.callee.leave()
    assert await thrown_out(reader)
    with pytest.raises(ConnectionRefusedError):
        await stranger(one.callee)
    assert await one.callee.address() is address
    writer.close()


async def test_who_was_never_asked_for_its_address_leaves_at_once(one: Replica) -> None:
    await one.callee.leave()
