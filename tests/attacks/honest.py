"""Honest clients in a process of their own, and what each of them saw, result by result.

They stream as fast as they are served, two frames in flight, v1 and plain by turns, from an
address of their own. ``python -m tests.attacks.honest PORT COUNT`` prints a line per result:
the client's number, when it came and how long its frame took, seconds of the system's monotonic
clock, which is the same in every process.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import math
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import NamedTuple, Self

from websockets import Subprotocol
from websockets.asyncio.client import ClientConnection, connect

from deployments.launch.configuration import ROOT
from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import SUBPROTOCOL
from tests.faults.books import wait_until
from tests.integration.pictures import astronaut, jpeg

ADDRESS = "127.0.0.2"
IN_FLIGHT = 2


class Seen(NamedTuple):
    """One result."""

    client: int
    at: float
    took: float


class Honest:
    """The process, and what its clients saw so far."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.count = count
        self._seen: list[Seen] = []
        command = [sys.executable, "-m", "tests.attacks.honest", str(port), str(count)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        wait_until(lambda: len({seen.client for seen in self._seen}) == self.count, "all stream")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            client, at, took = line.split()
            self._seen.append(Seen(int(client), float(at), float(took)))

    def between(self, since: float, until: float) -> Window:
        """What came in that time."""
        assert self._process.poll() is None, "an honest client lost its connection"
        seen = [seen for seen in self._seen if since <= seen.at < until]
        return Window(self.count, since, until, seen)


class Window:
    """Some seconds of honest clients' lives."""

    def __init__(self, count: int, since: float, until: float, seen: list[Seen]) -> None:
        self.frames = len(seen)
        self.fps = len(seen) / (until - since)
        took = sorted(s.took for s in seen)
        self.p99_s = took[math.ceil(0.99 * len(took)) - 1] if took else math.inf
        self.silent_s = 0.0
        for client in range(count):
            times = [since, *(s.at for s in seen if s.client == client), until]
            self.silent_s = max(self.silent_s, *(b - a for a, b in itertools.pairwise(times)))

    def __str__(self) -> str:
        return (
            f"{self.fps:.1f} frames/s, p99 {1000 * self.p99_s:.0f} ms, "
            f"longest silence {1000 * self.silent_s:.0f} ms"
        )


class Client:
    """One connection; a frame that was dropped is sent again as a new one."""

    def __init__(self, number: int, socket: ClientConnection, picture: bytes) -> None:
        self._number = number
        self._socket = socket
        self._picture = picture
        self._sent: dict[int, float] = {}
        self._seq = self._ack = 0

    async def live(self) -> None:
        for _ in range(IN_FLIGHT):
            await self._send()
        async for message in self._socket:
            await self._hear(message)

    async def _send(self) -> None:
        self._seq += 1
        self._sent[self._seq] = time.monotonic()
        await self._socket.send(self._encoded())

    def _encoded(self) -> str | bytes:
        if self._socket.subprotocol:
            return encode_frame(Frame(self._seq, self._ack, 0, self._picture))
        data = base64.b64encode(self._picture).decode()
        return json.dumps({"type": "frame", "data": data, "timestamp": self._seq})

    async def _hear(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            result = parse_result(message)
            self._ack = result.seq
            await self._served(result.frame_seq)
            return
        said = json.loads(message)
        match said["type"]:
            case "segmentation":
                await self._served(said["timestamp"])
            case "ping":
                await self._socket.send(json.dumps({"type": "pong", "t": said["t"]}))
            case "dropped":
                for seq in said["frames"]:
                    await self._lost(seq)
            case "error":
                await self._lost(said.get("frame_seq") or said["timestamp"])

    async def _served(self, seq: int) -> None:
        now = time.monotonic()
        sys.stdout.write(f"{self._number} {now} {now - self._sent.pop(seq)}\n")
        sys.stdout.flush()
        await self._send()

    async def _lost(self, seq: int) -> None:
        del self._sent[seq]
        await self._send()


async def _stream(port: int, number: int, picture: bytes) -> None:
    spoken = [Subprotocol(SUBPROTOCOL)] if number % 2 == 0 else None
    url = f"ws://127.0.0.1:{port}/ws"
    async with connect(url, subprotocols=spoken, local_addr=(ADDRESS, 0)) as socket:
        if spoken:
            await socket.send('{"type":"hello","client":"honest"}')
        await socket.recv()  # welcome or connected
        await Client(number, socket, picture).live()


async def _all(port: int, count: int) -> None:
    picture = jpeg(astronaut())
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(_stream(port, number, picture))


if __name__ == "__main__":
    asyncio.run(_all(int(sys.argv[1]), int(sys.argv[2])))
