"""A small v1 server that does what a test tells it to, in the same process.

A test plays the server's part of each connection (``Peer``), or leaves it to a
``KeptSession``, which answers everything, resumes, and keeps the account of
what a client must not do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ingress.wire.pictures import ClassShare, Frame, Result, ResultMeta, encode_result, parse_frame
from ingress.wire.replies import ModeChanged, ModeInfo, ServerMessage, Stats, VizUpdated, Welcome
from ingress.wire.requests import Ack, ChangeMode, ClientMessage, GetStats, Hello, UpdateViz
from ingress.wire.text import encode_text, parse_text
from ingress.wire.words import SUBPROTOCOL, Dialect

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
    *,
    heartbeat_s: float = 60.0,
    timeout_s: float = 60.0,
    max_in_flight: int = 4,
    resume_token: str | None = None,
    resumed: bool = False,
    last_request: int | None = None,
    mode: str = "person",
    viz: dict[str, Any] | None = None,
) -> Welcome:
    return Welcome(
        session="s1",
        resume_token=resume_token,
        resumed=resumed,
        last_request=last_request,
        heartbeat_s=heartbeat_s,
        timeout_s=timeout_s,
        max_in_flight=max_in_flight,
        max_frame_bytes=1_000_000,
        max_frame_pixels=1_000_000,
        modes=(PERSON, PERSON.model_copy(update={"name": "parts"})),
        mode=mode,
        viz=viz or {"output": "overlay"},
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

    def cut(self) -> None:
        """Lose the connection, without a close frame."""
        self.socket.transport.abort()

    async def answer(self, frame: Frame, payload: bytes = b"mask") -> int:
        """Send a result for the frame; returns the result's seq."""
        self._results += 1
        await self.send_result(self._results, frame, payload)
        return self._results

    async def send_result(self, seq: int, frame: Frame, payload: bytes = b"mask") -> None:
        """Send a result for the frame under a number of the caller's."""
        result = Result(seq, frame.seq, frame.captured_us, META, payload)
        await self.socket.send(encode_result(result))

    async def serve(self) -> None:
        """Answer everything, as a willing server does, until the client leaves."""
        try:
            while True:
                match await self.next():
                    case Frame() as frame:
                        await self.answer(frame)
                    case ChangeMode() | UpdateViz() | GetStats() as request:
                        await self.say(reply_to(request))
        except ConnectionClosed:
            return


def reply_to(request: ClientMessage) -> ServerMessage:
    """What a willing server answers; what was asked for can be told from it."""
    match request:
        case ChangeMode(id=id_, model_mode=mode):
            return ModeChanged(reply_to=id_, model_mode=mode, class_labels=PERSON.labels)
        case UpdateViz(id=id_, settings=settings):
            return VizUpdated(reply_to=id_, settings=settings)
        case _:
            return STATS.model_copy(update={"reply_to": request.id})


class Cut(Exception):
    """The connection was lost at a place that a test chose."""


class KeptSession:
    """A session that outlives its connections, as docs/protocol.md has it.

    ``fate`` is asked at every step of a connection; at True the connection is cut there.
    """

    def __init__(self, fate: Callable[[], bool]) -> None:
        self._fate = fate
        self._tokens: list[str] = []
        self._control: list[ServerMessage] = []
        self._results = 0
        self.frames: list[int] = []
        self.requests: list[ClientMessage] = []
        self.connections = 0

    async def serve(self, peer: Peer) -> None:
        """One connection, to its end."""
        self.connections += 1
        try:
            await self._greet(peer)
            while True:
                self._meet_fate()
                await self._handle(peer, await peer.next())
        except Cut:
            peer.cut()
        except ConnectionClosed:
            return

    def _meet_fate(self) -> None:
        if self._fate():
            raise Cut

    async def _greet(self, peer: Peer) -> None:
        hello = await peer.hear(Hello)
        self._meet_fate()
        token, missing = f"t{self.connections}", self._control
        if self._tokens:
            assert hello.resume is not None
            assert hello.resume.token in self._tokens, "this token was given up, or never given"
            assert hello.resume.last_seq <= self._results
            assert hello.resume.last_control <= len(self._control)
            missing = self._control[hello.resume.last_control :]
        self._tokens = [token, *([hello.resume.token] if hello.resume else [])]
        self._meet_fate()
        last = self.requests[-1].id if self.requests else None
        assert last is None or isinstance(last, int)
        await peer.say(welcome(resume_token=token, resumed=self.connections > 1, last_request=last))
        for message in missing:
            self._meet_fate()
            await peer.say(message)

    async def _handle(self, peer: Peer, message: ClientMessage | Frame) -> None:
        match message:
            case Frame():
                del self._tokens[1:]
                self.frames.append(message.seq)
                self._results += 1
                self._meet_fate()
                await peer.send_result(self._results, message)
            case Ack():
                del self._tokens[1:]
            case ChangeMode() | UpdateViz() | GetStats():
                self.requests.append(message)
                number = {"control_seq": len(self._control) + 1}
                self._control.append(reply_to(message).model_copy(update=number))
                self._meet_fate()
                await peer.say(self._control[-1])


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
