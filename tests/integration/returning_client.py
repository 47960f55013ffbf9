"""A client that loses its connection again and again, and checks what it gets back.

It trusts nothing: control messages must come exactly once and in order over all its
connections, every request must be answered exactly once, mode and view must be those that
it asked for, and no result may be old.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ingress.wire.pictures import Frame, Result, encode_frame, parse_result
from ingress.wire.replies import (
    Bye,
    Dropped,
    Error,
    ModeChanged,
    ServerMessage,
    ServerPing,
    Stats,
    VizUpdated,
    Welcome,
)
from ingress.wire.text import parse_server_text
from ingress.wire.words import SUBPROTOCOL

PATIENCE_S = 30.0
RESULT_AGE_S = 2.0
MODES = ("person", "person-wide")
KINDS = ("update_viz", "change_mode", "get_stats")
CUTS = ("abort", "abort", "abort", "abandon", "hello and go", "welcome and go", "long")
FRAMES_IN_FLIGHT = 2


class ReturningClient:
    """One session over many connections; ``rng`` decides what it does and when it is cut."""

    def __init__(
        self, url: str, rng: random.Random, picture: bytes, kinds: Sequence[str] = KINDS
    ) -> None:
        """``kinds`` are the requests that it makes."""
        self._url = url
        self._kinds = kinds
        self._rng = rng
        self._picture = picture
        self._welcome: Welcome | None = None
        self._abandoned: list[ClientConnection] = []
        self._last_seq = self._last_control = self._frame_seq = self._request = 0
        self._owed: dict[int, Mapping[str, Any]] = {}
        self._unanswered: dict[int, float] = {}
        self._confirmed = {"mode": MODES[0], "quality": 80}
        self._left_at = 0.0
        self.resumes = self.replies = self.results = self.replayed = 0
        self.bye: Bye | None = None

    async def live(self, cuts: int) -> None:
        """Lose ``cuts`` connections, then come back once more and settle everything."""
        for _ in range(cuts):
            await self._cut(self._rng.choice(CUTS))
        async with asyncio.timeout(PATIENCE_S):
            socket = await self.come_back()
            await self._settle(socket)
        await socket.close()
        for abandoned in self._abandoned:
            async with asyncio.timeout(PATIENCE_S):
                await abandoned.wait_closed()
            assert abandoned.close_code in (4002, 4201, 1006), abandoned.close_code

    async def _settle(self, socket: ClientConnection) -> None:
        """Hear all that is owed."""
        try:
            while self._owed:
                await self.receive(socket)
        except ConnectionClosed as closed:
            heard = self._welcome and self._welcome.last_request
            raise AssertionError(f"closed while it owed {self._owed}, of {heard}") from closed

    async def _cut(self, how: str) -> None:
        if how == "hello and go":
            socket = await self._hello()
        else:
            socket = await self.come_back(confirm=how != "welcome and go")
            await self._talk(socket, self._rng.uniform(0.0, 0.4))
        self._left_at = asyncio.get_running_loop().time()
        if how == "abandon":
            self._abandoned.append(socket)
        else:
            socket.transport.abort()
        self._unanswered.clear()
        if how == "long":
            # The network is away for longer than a result stays young.
            await asyncio.sleep(RESULT_AGE_S + 0.3)

    # ------------------------------------------------------------------ coming back

    async def _hello(self) -> ClientConnection:
        async with asyncio.timeout(PATIENCE_S):
            socket = await connect(self._url, subprotocols=[SUBPROTOCOL], max_size=None)  # type: ignore[list-item]
            hello: dict[str, Any] = {"type": "hello", "client": "returning"}
            if self._welcome is not None:
                hello["resume"] = {
                    "session": self._welcome.session,
                    "token": self._welcome.resume_token,
                    "last_seq": self._last_seq,
                    "last_control": self._last_control,
                }
            await socket.send(json.dumps(hello))
        return socket

    async def come_back(self, *, confirm: bool = True) -> ClientConnection:
        """Connect, say hello, be welcomed, and ask again for what was lost on the way."""
        socket = await self._hello()
        async with asyncio.timeout(PATIENCE_S):
            welcome = parse_server_text(str(await socket.recv()))
        assert isinstance(welcome, Welcome), welcome
        known = self._welcome
        self._welcome = welcome
        assert welcome.resume_token
        if known is not None:
            assert welcome.resumed, welcome.why
            assert welcome.session == known.session
            assert welcome.resume_token != known.resume_token
            self._check_settings(welcome)
            self.resumes += 1
        if confirm:
            await socket.send(json.dumps({"type": "ack", "seq": self._last_seq}))
        # Before it asks for anything else: what was not read of the last connection is lost.
        await self._ask_again(socket, welcome.last_request)
        return socket

    def _check_settings(self, welcome: Welcome) -> None:
        """The settings are those last confirmed, or those of a request under way."""
        asked = list(self._owed.values())
        modes = {self._confirmed["mode"], *(r.get("model_mode") for r in asked)}
        qualities = {self._confirmed["quality"]}
        qualities |= {r["settings"]["quality"] for r in asked if "settings" in r}
        assert welcome.mode in modes
        assert welcome.viz["quality"] in qualities
        assert welcome.viz["output"] == "mask" or self._confirmed["quality"] == 80

    async def _ask_again(self, socket: ClientConnection, last_request: str | int | None) -> None:
        lost = [i for i in self._owed if not isinstance(last_request, int) or i > last_request]
        for number in lost:
            await socket.send(json.dumps(self._owed[number]))

    # ------------------------------------------------------------------ talking

    async def _talk(self, socket: ClientConnection, seconds: float) -> None:
        """Send frames and requests, and read, for about that long."""
        over = asyncio.get_running_loop().time() + seconds
        while (left := over - asyncio.get_running_loop().time()) > 0:
            if len(self._unanswered) < FRAMES_IN_FLIGHT:
                await self.send_frame(socket)
            if len(self._owed) < 4 and self._rng.random() < 0.3:
                await self.request(socket)
            try:
                async with asyncio.timeout(min(left, 0.05)):
                    await self.receive(socket)
            except TimeoutError:
                continue

    async def stream(self, socket: ClientConnection) -> None:
        """Send frames and read until the connection ends, which raises ConnectionClosed."""
        while True:
            # A send may find it closed while the last words still wait to be read.
            with suppress(ConnectionClosed):
                while len(self._unanswered) < FRAMES_IN_FLIGHT:
                    await self.send_frame(socket)
            await self.receive(socket)

    async def send_frame(self, socket: ClientConnection) -> None:
        self._frame_seq += 1
        self._unanswered[self._frame_seq] = asyncio.get_running_loop().time()
        await socket.send(encode_frame(Frame(self._frame_seq, self._last_seq, 0, self._picture)))

    async def request(self, socket: ClientConnection) -> None:
        """Ask for something; the answer may come over another connection."""
        self._request += 1
        request: dict[str, Any] = {"id": self._request}
        match self._rng.choice(self._kinds):
            case "update_viz":
                settings = {"output": "mask", "quality": 1 + self._request % 79}
                request |= {"type": "update_viz", "settings": settings}
            case "change_mode":
                request |= {"type": "change_mode", "model_mode": self._rng.choice(MODES)}
            case kind:
                request |= {"type": kind}
        self._owed[self._request] = request
        await socket.send(json.dumps(request))

    async def receive(self, socket: ClientConnection) -> None:
        """Take one message, whatever it is, and check that it may come now."""
        message = await socket.recv()
        if isinstance(message, bytes):
            self._on_result(parse_result(message))
            return
        parsed = parse_server_text(message)
        if parsed.control_seq is not None:
            assert parsed.control_seq == self._last_control + 1, "lost, twice or out of order"
            self._last_control = parsed.control_seq
        match parsed:
            case ServerPing(t=t):
                with suppress(ConnectionClosed):  # as in stream
                    await socket.send(json.dumps({"type": "pong", "t": t}))
            case Dropped(frames=frames):
                for seq in frames:
                    self._unanswered.pop(seq, None)
            case ModeChanged() | VizUpdated() | Stats() | Error():
                self._on_reply(parsed)
            case Bye():
                self.bye = parsed
            case _:
                raise AssertionError(f"not expected here: {parsed}")

    def _on_result(self, result: Result) -> None:
        assert result.seq > self._last_seq, "a result that was received before"
        self._last_seq = result.seq
        self.results += 1
        if self._unanswered.pop(result.frame_seq, None) is None:
            away = asyncio.get_running_loop().time() - self._left_at
            assert away < RESULT_AGE_S + 1, f"a result is replayed after {away:.1f} s"
            self.replayed += 1

    def _on_reply(self, reply: ServerMessage) -> None:
        assert isinstance(reply.reply_to, int), f"not asked for: {reply}"
        request = self._owed.pop(reply.reply_to, None)
        assert request is not None, f"answered before: {reply}"
        self.replies += 1
        match reply:
            case ModeChanged(model_mode=mode):
                self._confirmed["mode"] = mode
            case VizUpdated(settings=settings):
                assert settings["quality"] == request["settings"]["quality"]
                self._confirmed["quality"] = settings["quality"]


async def lose_and_return(
    url: str, picture: bytes, *, clients: int, cuts: int, seed: int, kinds: Sequence[str] = KINDS
) -> list[ReturningClient]:
    """Many sessions that are cut ``cuts`` times each; returns them when all have settled."""
    crowd = [
        ReturningClient(url, random.Random(seed + number), picture, kinds)
        for number in range(clients)
    ]
    async with asyncio.TaskGroup() as tasks:
        for client in crowd:
            tasks.create_task(client.live(cuts))
    return crowd
