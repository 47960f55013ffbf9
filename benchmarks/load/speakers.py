"""How the load generator talks to a server: one class for each way to carry a frame.

A speaker is one client with one connection. ``ask`` sends a frame and returns once its answer is
there. What an answer weighs is what the server put on the wire for it, headers included.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from ingress.wire.pictures import RESULT_FIELDS, Frame, encode_frame, layout
from ingress.wire.words import SUBPROTOCOL

_RESULT_HEADER = layout(RESULT_FIELDS)


class NoAnswer(Exception):
    """The server answered a frame with something else than its result."""


class Speaker(Protocol):
    """One client."""

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        """Connect, and ask for ``output`` where the protocol has a word for that."""

    async def ask(self, frame: bytes) -> tuple[int, int]:
        """Send one encoded picture; the bytes sent and received, once the answer is there."""

    async def leave(self) -> None:
        """Close the connection."""


async def _dialled(url: str, *subprotocols: str) -> ClientConnection:
    # As browsers do not compress pictures again, neither does this client.
    return await connect(
        url,
        subprotocols=list(subprotocols) or None,  # type: ignore[arg-type]
        compression=None,
        max_size=None,
        ping_interval=None,
    )


class V1:
    """``segstream.v1``; a frame that the server drops is sent again as a new one."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._seq = self._ack = 0

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        socket = await _dialled(url, SUBPROTOCOL)
        await socket.send('{"type":"hello","client":"benchmark"}')
        await socket.recv()
        await socket.send(json.dumps({"type": "update_viz", "settings": {"output": output}}))
        while json.loads(await socket.recv())["type"] != "viz_updated":
            pass
        return cls(socket)

    async def say(self, frame: bytes, captured_us: int = 0) -> int:
        """Send a frame; returns the bytes of its message."""
        self._seq += 1
        message = encode_frame(Frame(self._seq, self._ack, captured_us, frame))
        await self.socket.send(message)
        return len(message)

    async def hear(self) -> tuple[int, int] | dict[str, Any]:
        """The ``captured_us`` and the bytes of the next result, or what else the server says.

        A result is acknowledged with the next frame. Its metadata is not for a load generator.
        """
        while True:
            message = await self.socket.recv()
            if isinstance(message, bytes):
                _, _, _, self._ack, _, _, captured_us = _RESULT_HEADER.unpack_from(message)
                return captured_us, len(message)
            said: dict[str, Any] = json.loads(message)
            if said["type"] != "ping":
                return said
            await self.socket.send(json.dumps({"type": "pong", "t": said["t"]}))

    async def acknowledge(self) -> None:
        """Acknowledge without a frame, for a client that has none to send now."""
        await self.socket.send(json.dumps({"type": "ack", "seq": self._ack}))

    async def ask(self, frame: bytes) -> tuple[int, int]:
        sent = await self.say(frame)
        while isinstance(answer := await self.hear(), dict):
            if answer["type"] != "dropped":
                raise NoAnswer(json.dumps(answer))
            sent = await self.say(frame)
        return sent, answer[1]

    async def leave(self) -> None:
        await self.socket.close()


class Text:
    """JSON with the picture in base64 both ways: our plain dialect, and the original's pattern."""

    picture_key: str
    told_by: str  # a word that stands in the end of an answer, and in no error

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def ask(self, frame: bytes) -> tuple[int, int]:
        picture = base64.b64encode(frame).decode()
        message = f'{{"type":"frame","{self.picture_key}":"{picture}"}}'
        await self._socket.send(message)
        answer = await self._socket.recv()
        if self.told_by not in answer[-1000:]:
            raise NoAnswer(str(answer[:200]))
        return len(message), len(answer)

    async def leave(self) -> None:
        await self._socket.close()


class Plain(Text):
    """The original client's dialect, as our server speaks it."""

    picture_key, told_by = "data", '"metadata"'

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        socket = await _dialled(url)
        await socket.recv()  # "connected"
        return cls(socket)


class Original(Text):
    """The messages of the pattern that the project grew out of, without a greeting."""

    picture_key, told_by = "frame", '"stats"'

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        return cls(await _dialled(url))


class Binary:
    """A picture in, a mask out, one message each."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        return cls(await _dialled(url))

    async def ask(self, frame: bytes) -> tuple[int, int]:
        await self.socket.send(frame)
        answer = await self.socket.recv()
        if not isinstance(answer, bytes):
            raise NoAnswer(answer[:200])
        return len(frame), len(answer)

    async def leave(self) -> None:
        await self.socket.close()


class Http:
    """POST the picture, get the mask, on one connection that is kept.

    Written on bare streams: an HTTP client library takes several times what the WebSocket
    clients take, on the cores that are measured.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: image/jpeg\r\nContent-Length: "
        )
        return cls(reader, writer, head.encode())

    async def ask(self, frame: bytes) -> tuple[int, int]:
        head = b"%b%d\r\n\r\n" % (self._head, len(frame))
        self._writer.writelines((head, frame))
        await self._writer.drain()
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status, _, fields = answer.partition(b"\r\n")
        if b" 200 " not in status + b" ":
            raise NoAnswer(status.decode(errors="replace"))
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        return len(head) + len(frame), len(answer) + len(body)

    async def leave(self) -> None:
        self._writer.close()


SPEAKERS: Mapping[str, type[Speaker]] = {
    "v1": V1,
    "plain": Plain,
    "ws-base64": Original,
    "ws-binary": Binary,
    "http": Http,
}
