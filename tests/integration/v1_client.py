"""A bare v1 connection, for tests that must see every message as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect

from ingress.wire.pictures import Frame, Result, encode_frame, parse_result
from ingress.wire.replies import Dropped, Error, ServerMessage, Welcome
from ingress.wire.text import parse_server_text
from ingress.wire.words import SUBPROTOCOL

TIMEOUT_S = 60.0

Outcome = Result | Error | Dropped


@dataclass
class V1Client:
    """Sends what it is told; ``outcomes`` has how each frame ended, by seq."""

    socket: ClientConnection
    seq: int = 0
    ack: int = 0
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    control: list[ServerMessage] = field(default_factory=list)

    async def send(self, image: bytes, captured_us: int = 0) -> int:
        """Send one frame; returns its seq."""
        self.seq += 1
        self.outcomes[self.seq] = []
        await self.socket.send(encode_frame(Frame(self.seq, self.ack, captured_us, image)))
        return self.seq

    async def say(self, text: str) -> None:
        await self.socket.send(text)

    async def receive(self) -> ServerMessage | Result:
        """The next message, sorted into ``outcomes`` or ``control``."""
        async with asyncio.timeout(TIMEOUT_S):
            message = await self.socket.recv()
        if isinstance(message, bytes):
            result = parse_result(message)
            self.ack = result.seq
            self.outcomes[result.frame_seq].append(result)
            return result
        parsed = parse_server_text(message)
        if isinstance(parsed, Dropped):
            for seq in parsed.frames:
                self.outcomes[seq].append(parsed)
        elif isinstance(parsed, Error) and parsed.frame_seq in self.outcomes:
            self.outcomes[parsed.frame_seq].append(parsed)
        else:
            self.control.append(parsed)
        return parsed

    async def until(self, kind: type[ServerMessage]) -> ServerMessage:
        """Receive until a control message of ``kind`` comes."""
        while not isinstance(message := await self.receive(), kind):
            pass
        return message

    def told(self, kind: type[ServerMessage], reply_to: str | int) -> bool:
        """Whether the reply to that request has come."""
        return any(isinstance(m, kind) and m.reply_to == reply_to for m in self.control)

    async def outcome(self, seq: int) -> Outcome:
        """Receive until the frame ``seq`` has ended."""
        while not self.outcomes[seq]:
            await self.receive()
        return self.outcomes[seq][0]

    async def mask(self, image: bytes) -> Result:
        """Send a frame that must get a result."""
        outcome = await self.outcome(await self.send(image))
        assert isinstance(outcome, Result), outcome
        return outcome

    async def settle(self) -> None:
        """Receive until every frame sent has ended."""
        while not all(self.outcomes.values()):
            await self.receive()


@asynccontextmanager
async def v1(url: str, viz: str = '{"output":"mask"}') -> AsyncIterator[V1Client]:
    """A greeted connection with its view set."""
    async with connect(url, subprotocols=[SUBPROTOCOL], max_size=None) as socket:  # type: ignore[list-item]
        client = V1Client(socket)
        await client.say('{"type":"hello","client":"integration test"}')
        assert isinstance(await client.receive(), Welcome)
        await client.say(f'{{"type":"update_viz","settings":{viz}}}')
        await client.receive()
        yield client
