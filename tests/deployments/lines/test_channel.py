"""What a channel takes from whom: nothing before the handshake, nothing too long."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from deployments.lines import channel as module
from deployments.lines.channel import CallFailed, Channel
from deployments.lines.handshake import Handshake, Key
from deployments.lines.messages import NotUnderstood
from tests.deployments.lines.wire import Wire

HELLO_BYTES = 36


class Heard:
    """An ``End`` that remembers what it was told."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.why = ""

    def met(self, channel: Channel) -> None:
        self.channel = channel

    def received(self, channel: Channel, body: memoryview) -> None:
        message = bytes(body)
        if message == b"nonsense":
            raise NotUnderstood("nonsense")
        self.messages.put_nowait(message)

    def lost(self, channel: Channel, why: str) -> None:
        self.why = why
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
        """The called end of a connection whose caller has the key, and the caller's two."""
        reader, writer = await self.connect()
        caller = Handshake(self.key, calls=True)
        writer.write(caller.hello)
        while caller.awaits:
            writer.write(caller.take(await reader.readexactly(caller.awaits)))
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


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


async def test_messages_arrive_whole_however_they_are_cut(port: Port) -> None:
    channel, reader, writer = await port.meet()
    for byte in framed(b"one"):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)  # no piece comes with another
    writer.write(framed(b"x" * 300_000) + framed(b"three"))
    heard = [await port.heard.messages.get() for _ in range(3)]
    assert heard == [b"one", b"x" * 300_000, b"three"]
    channel.send((b"an", b"", b"swer", b""))
    assert await reader.readexactly(len(framed(b"answer"))) == framed(b"answer")


def test_a_handshake_may_come_in_any_pieces() -> None:
    key, heard = Key(), Heard()
    wire = Wire(Channel(heard, key, calls=False))
    caller = Handshake(key, calls=True)
    caller.take(bytes(wire.written[:4]))
    for byte in caller.hello + caller.take(bytes(wire.written[4:])) + framed(b"one"):
        wire.feed(bytes([byte]))
    assert heard.channel is not None
    assert heard.messages.get_nowait() == b"one"


@pytest.mark.parametrize("calls", [True, False], ids=["calls", "is called"])
@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (b"", ""),
        (b"SGL", ""),
        (b"SGL\2" + b"x" * 63, ""),
        (b"SGL\2" + b"x" * 64, "it has not the key"),
        (b"SGL\3", "it speaks version 3 of the lines, this side 2"),
        (b"GET / HTTP/1.1\r\n\r\n", "it does not speak as a replica does"),
        (pickle.dumps(print, pickle.HIGHEST_PROTOCOL), "it does not speak as a replica does"),
    ],
)  # fmt: skip
def test_nothing_is_taken_of_who_has_not_shown_the_key(shown: bytes, why: str, calls: bool) -> None:
    heard = Heard()
    wire = Wire(Channel(heard, Key(), calls=calls))
    wire.feed(shown)
    wire.feed(framed(b"message") * 3 if why else b"")
    assert heard.channel is None
    assert heard.messages.empty()
    assert (heard.why, wire.is_closing()) == (why, why != "")
    proves = calls and len(shown) >= HELLO_BYTES and shown.startswith(b"SGL\2")
    assert len(wire.written) == HELLO_BYTES + (32 if proves else 0)


async def test_what_was_recorded_of_a_connection_opens_no_other(port: Port) -> None:
    key, recorded = port.key, bytearray()
    caller = Handshake(key, calls=True)
    wire = Wire(Channel(Heard(), key, calls=False))
    recorded += caller.hello
    for piece in (wire.written[:4], wire.written[4:HELLO_BYTES]):
        recorded += caller.take(bytes(piece))
    wire.feed(bytes(recorded))
    assert len(wire.written) == HELLO_BYTES + 32, "the first time it is good"
    _, writer = await port.connect()
    writer.write(bytes(recorded) + framed(b"message"))
    await port.heard.ended.wait()
    assert port.heard.channel is None
    assert port.heard.why == "it has not the key"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (bytes(4), "a message of 0 bytes"),
        (b"\xff" * 4, "a message of 4294967295 bytes"),
        (framed(b"nonsense"), "nonsense"),
    ],
)
async def test_what_cannot_be_read_ends_the_connection(port: Port, sent: bytes, why: str) -> None:
    _, reader, writer = await port.meet()
    writer.write(sent + framed(b"behind it"))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await port.heard.ended.wait()
    assert port.heard.messages.empty()
    assert port.heard.why == why


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
        channel.send((b"x" * 100_000,))
        sent += 1
        waiting = asyncio.create_task(channel.room())
        await asyncio.sleep(0)
    await reader.readexactly(sent * len(framed(b"x" * 100_000)))
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
    channel.send((b"nobody hears it",))
    assert port.heard.why == "", "it went by itself"


async def test_a_message_that_is_too_long_is_refused_before_it_is_sent(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST", 1000)
    channel, _, _ = await port.meet()
    with pytest.raises(CallFailed, match="1001 bytes; at most 1000"):
        channel.send((b"x" * 1000, b"x"))
    assert channel.is_open
