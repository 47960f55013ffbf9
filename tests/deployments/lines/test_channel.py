"""What a channel takes from whom: nothing without the key, nothing too long, nothing unreadable."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from deployments.lines import channel as module
from deployments.lines.channel import CallFailed, Channel, Key


class Heard:
    """An ``End`` that remembers what it was told."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = asyncio.Event()

    def met(self, channel: Channel) -> None:
        self.channel = channel

    def received(self, channel: Channel, message: Any) -> None:
        self.messages.put_nowait(message)

    def lost(self, channel: Channel) -> None:
        self.ended.set()


class Port:
    """A port behind which a ``Heard`` holds the called end."""

    def __init__(self) -> None:
        self.key = Key()
        self.heard = Heard()
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    def end(self) -> Channel:
        return Channel(self.heard, self.key, calls=False)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def meet(self) -> tuple[Channel, asyncio.StreamReader, asyncio.StreamWriter]:
        """The called end of a connection whose caller has shown the key, and the caller's two."""
        reader, writer = await self.connect()
        writer.write(self.key.caller + framed("met"))
        await self.heard.messages.get()
        assert self.heard.channel is not None
        return self.heard.channel, reader, writer

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            await self.heard.ended.wait()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    port = Port()
    server = await asyncio.get_running_loop().create_server(port.end, "127.0.0.1", 0)
    port.port = server.sockets[0].getsockname()[1]
    yield port
    await port.hang_up()
    server.close()


def framed(message: Any) -> bytes:
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(4, "big") + body


class Planted:
    """Says so when it is unpickled."""

    unpickled = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (plant, ())


def plant() -> None:
    Planted.unpickled += 1


async def test_messages_arrive_whole_however_they_are_cut(port: Port) -> None:
    reader, writer = await port.connect()
    for byte in port.key.caller + framed((1, "one")):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)  # no piece comes with another
    writer.write(framed((2, b"x" * 300_000)) + framed((3, "three")))
    assert await reader.readexactly(16) == port.key.called
    assert [await port.heard.messages.get() for _ in range(3)] == [
        (1, "one"), (2, b"x" * 300_000), (3, "three"),
    ]  # fmt: skip
    assert port.heard.channel is not None
    port.heard.channel.send((1, "answer"))
    assert await reader.readexactly(len(framed((1, "answer")))) == framed((1, "answer"))
    await port.hang_up()


@pytest.mark.parametrize("shown", [b"", b"x" * 15, b"x" * 16], ids=["none", "short", "wrong"])
async def test_nothing_is_unpickled_for_who_has_not_shown_the_key(port: Port, shown: bytes) -> None:
    reader, writer = await port.connect()
    writer.write(shown + framed(Planted()) * 3)
    writer.write_eof()
    with suppress(ConnectionResetError):
        assert await reader.read() == b"", "nor is the other half shown"
    await port.heard.ended.wait()
    assert port.heard.channel is None
    assert Planted.unpickled == 0


async def test_the_caller_does_not_unpickle_for_who_has_not_shown_the_key() -> None:
    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 16 + framed(Planted()))
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    heard, ended = Heard(), asyncio.Event()
    server = await asyncio.start_server(impostor, "127.0.0.1", 0)
    await asyncio.get_running_loop().create_connection(
        lambda: Channel(heard, Key(), calls=True),
        *server.sockets[0].getsockname(),
    )
    await heard.ended.wait()
    assert heard.channel is None
    assert Planted.unpickled == 0
    server.close()
    await ended.wait()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(bytes(4), id="a message without a body"),
        pytest.param(b"\xff" * 4, id="a message of 4 GiB"),
        pytest.param(b"\0\0\0\3abc", id="no pickle"),
        pytest.param(b"\0\0\0\x0ccno\nmodule\n.", id="a class of another version"),
    ],
)
async def test_what_cannot_be_read_ends_the_connection(
    port: Port, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await port.connect()
    writer.write(port.key.caller + garbage)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(17)
    await port.heard.ended.wait()
    assert port.heard.messages.empty()
    assert len(caplog.records) == 1
    assert "ends its connection" in caplog.text
    assert "Traceback" not in caplog.text


async def test_who_calls_waits_while_nobody_reads(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUFFERED", 1000)
    channel, reader, _ = await port.meet()
    waiting = asyncio.create_task(channel.room())
    await asyncio.sleep(0)
    assert waiting.done(), "nothing was sent yet"
    sent = 0
    while waiting.done():
        assert sent < 1000, "the system takes a few MB, and then who calls waits"
        channel.send(b"x" * 100_000)
        sent += 1
        waiting = asyncio.create_task(channel.room())
        await asyncio.sleep(0)
    await reader.readexactly(16 + sent * len(framed(b"x" * 100_000)))
    await waiting


async def test_who_waits_for_room_learns_of_the_end(port: Port) -> None:
    channel, _, writer = await port.meet()
    channel.pause_writing()
    waiting = asyncio.create_task(channel.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    writer.close()
    await waiting
    assert not channel.is_open
    channel.send("nobody hears it")


async def test_a_message_that_is_too_long_is_refused_before_it_is_sent(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST", 1000)
    channel, _, _ = await port.meet()
    with pytest.raises(CallFailed, match="at most 1000"):
        channel.send(b"x" * 1000)
    assert channel.is_open


def test_a_key_is_never_shown_in_a_log() -> None:
    key = Key()
    assert repr(key) == str(key) == "Key()"
    assert len({key.caller, key.called, Key().caller, Key().called}) == 4
