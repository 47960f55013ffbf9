"""A small v1 server that does what a test tells it to, in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ingress.protocol import (
    SUBPROTOCOL,
    ChangeMode,
    ClassShare,
    ClientMessage,
    Dialect,
    Frame,
    GetStats,
    Hello,
    ModeChanged,
    ModeInfo,
    Result,
    ResultMeta,
    ServerMessage,
    Stats,
    UpdateViz,
    VizUpdated,
    Welcome,
    encode_result,
    encode_text,
    parse_frame,
    parse_text,
)

Heard = TypeVar("Heard", bound=ClientMessage | Frame)
DEADLINE_S = 20.0
META = ResultMeta(
    mode="person",
    width=640,
    height=480,
    media_type="image/png",
    stages_ms={"queue": 1.0, "inference": 4.0},
    batch=1,
    classes=(ClassShare(id=1, label="person", share=0.25),),
)
PERSON = ModeInfo(
    name="person",
    title="Person",
    labels=("background", "person"),
    palette=((0, 0, 0), (0, 200, 0)),
    input_size=(256, 256),
)
STATS = Stats(
    avg_inference_ms=4.0,
    min_inference_ms=3.0,
    max_inference_ms=5.0,
    avg_fps=30.0,
    session={},
    scene={},
    server={},
)


def welcome(
    *, heartbeat_s: float = 60.0, timeout_s: float = 60.0, max_in_flight: int = 4
) -> Welcome:
    return Welcome(
        session="s1",
        resumed=False,
        heartbeat_s=heartbeat_s,
        timeout_s=timeout_s,
        max_in_flight=max_in_flight,
        max_frame_bytes=1_000_000,
        max_frame_pixels=1_000_000,
        modes=(PERSON, PERSON.model_copy(update={"name": "parts"})),
        mode="person",
        viz={"output": "overlay"},
        retry_ms=(500, 30_000),
    )


class Peer:
    """The server's end of one connection, in the hands of a test."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self._results = 0

    async def hear(self, kind: type[Heard]) -> Heard:
        """The next message, which must be of that kind."""
        message = await self.next()
        assert isinstance(message, kind), message
        return message

    async def next(self) -> ClientMessage | Frame:
        async with asyncio.timeout(DEADLINE_S):
            message = await self.socket.recv()
        if isinstance(message, bytes):
            return parse_frame(message)
        return parse_text(message, Dialect.V1)

    async def greet(self, greeting: ServerMessage) -> Hello:
        hello = await self.hear(Hello)
        await self.say(greeting)
        return hello

    async def say(self, message: ServerMessage) -> None:
        await self.socket.send(encode_text(message))

    async def answer(self, frame: Frame, payload: bytes = b"mask") -> int:
        """Send a result for the frame; returns the result's seq."""
        self._results += 1
        result = Result(self._results, frame.seq, frame.captured_us, META, payload)
        await self.socket.send(encode_result(result))
        return self._results

    async def serve(self) -> None:
        """Answer everything, as a willing server does, until the client leaves."""
        try:
            while True:
                match await self.next():
                    case Frame() as frame:
                        await self.answer(frame)
                    case ChangeMode(id=id_, model_mode=mode):
                        labels = PERSON.labels
                        await self.say(
                            ModeChanged(reply_to=id_, model_mode=mode, class_labels=labels)
                        )
                    case UpdateViz(id=id_, settings=settings):
                        await self.say(VizUpdated(reply_to=id_, settings=settings))
                    case GetStats(id=id_):
                        await self.say(STATS.model_copy(update={"reply_to": id_}))
        except ConnectionClosed:
            return


class FakeServer:
    """Hands each connection to the test as a ``Peer``."""

    def __init__(self) -> None:
        self.url = ""
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def peer(self, greeting: ServerMessage | None = None) -> Peer:
        """The next client, greeted."""
        peer = await self.stranger()
        await peer.greet(greeting or welcome())
        return peer

    async def stranger(self) -> Peer:
        """The next client, before its hello."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._peers.get()

    async def on_connection(self, socket: ServerConnection) -> None:
        self._peers.put_nowait(Peer(socket))
        await socket.wait_closed()


@asynccontextmanager
async def fake_server() -> AsyncIterator[FakeServer]:
    """A server on a free port of this machine, for as long as the block lasts."""
    fake = FakeServer()
    async with serve(
        fake.on_connection,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        ping_interval=None,
        close_timeout=1.0,
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        fake.url = f"ws://127.0.0.1:{port}/ws"
        yield fake
