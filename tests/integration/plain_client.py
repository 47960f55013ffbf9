"""A client of the plain dialect written from docs/protocol.md alone.

It imports nothing of ours, keeps two frames in flight as the original did, and
is what every existing client of that dialect looks like to the server.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection

IN_FLIGHT = 2
PATIENCE_S = 60.0
Message = dict[str, Any]


@dataclass
class PlainClient:
    """Frames out, answers in; ``sent`` minus ``answered`` is what is in flight."""

    socket: ClientConnection
    pictures: Iterator[bytes]
    sent: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    errors: list[Message] = field(default_factory=list)
    longest_gap_s: float = 0.0
    _stopping: bool = False
    _answered: asyncio.Event = field(default_factory=asyncio.Event)
    _replies: dict[str, asyncio.Queue[Message]] = field(
        default_factory=lambda: defaultdict(asyncio.Queue)
    )
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IN_FLIGHT))

    async def run(self, script: Callable[[PlainClient], Awaitable[None]]) -> None:
        """Stream while ``script`` runs, then wait for the last answers."""
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read())
            sender = tasks.create_task(self._send())
            await script(self)
            self._stopping = True
            self._room.release()
            await sender
            while len(self.answered) < len(self.sent):
                await self.next_answer()
            reader.cancel()

    async def ask(self, message: Message, answer: str) -> Message:
        """Send a control message and wait for its answer."""
        await self.socket.send(json.dumps(message))
        async with asyncio.timeout(PATIENCE_S):
            return await self._replies[answer].get()

    async def next_answer(self) -> None:
        """Return once one more frame is answered."""
        before = len(self.answered)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.answered) == before:
                await self._answered.wait()
                self._answered.clear()

    async def _send(self) -> None:
        for timestamp, picture in enumerate(self.pictures):
            await self._room.acquire()
            if self._stopping:
                return
            self.sent.append(timestamp)
            data = base64.b64encode(picture).decode()
            await self.socket.send(
                json.dumps({"type": "frame", "data": data, "timestamp": timestamp})
            )

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time
        heard = now()
        async for text in self.socket:
            message = json.loads(text)
            if message["type"] == "segmentation":
                self.longest_gap_s = max(self.longest_gap_s, now() - heard)
                heard = now()
                self.answered.append(message["timestamp"])
                self.modes.append(message["metadata"]["model_mode"])
                self._room.release()
                self._answered.set()
            elif message["type"] == "error":
                self.errors.append(message)
            else:
                self._replies[message["type"]].put_nowait(message)
