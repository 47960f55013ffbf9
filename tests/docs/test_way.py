"""The way that the documents draw is the way that a frame goes."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
from starlette.types import Message
from starlette.websockets import WebSocket

from deployments import segmenter as segmenter_module
from deployments.lines.callee import Callee
from deployments.lines.pools import Pools
from deployments.segmenter import Segmenter
from docs.way import PAGES, WAY, with_way
from ingress.door.transport import StarletteTransport
from ingress.metrics import Metrics
from ingress.service import Service
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.words import SUBPROTOCOL, Dialect
from models.catalog import MODES
from models.pictures.limits import ImageLimits
from tests.docs.footprints import ROOT, Footprints
from tests.ingress.fakes import FakeCensus, visitor
from tests.ingress.world import new_world

PICTURE = (ROOT / "web" / "sample" / "astronaut.webp").read_bytes()


class Socket:
    """What an ASGI server is to Starlette."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, message: Message) -> None:
        await self.sent.put(message)

    def comes(self, **content: str | bytes) -> None:
        """The client sends ``text`` or ``bytes``."""
        self.coming.put_nowait({"type": "websocket.receive", **content})

    def websocket(self) -> WebSocket:
        self.coming.put_nowait({"type": "websocket.connect"})
        scope = {"type": "websocket", "path": "/ws", "headers": [], "subprotocols": [SUBPROTOCOL]}
        return WebSocket(scope, self.coming.get, self.send)

    async def next(self, kind: str) -> Message:
        """The next message of that kind that the app sends."""
        async with asyncio.timeout(10):
            while True:
                message = await self.sent.get()
                if message.get(kind):
                    return message


class Handle:
    """Serve's handle of a pool with one replica, which answers where it takes calls."""

    deployment_name = "segmenter-main"

    def __init__(self, callee: Callee) -> None:
        self._callee = callee

    def options(self, **_: Any) -> Handle:
        return self

    def broadcast(self, method: str, asker: str) -> SimpleNamespace:
        async def calls() -> list[SimpleNamespace]:
            return [SimpleNamespace(get_async=partial(self._callee.address, asker))]

        return SimpleNamespace(_fetch_replica_results_async=calls)


class Blank:
    """A runtime that finds nobody."""

    name, device, max_batch = "blank", "cpu", 1

    def predict(self, frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.zeros((len(frames), 1, *frames.shape[1:3]), np.float32)


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    monkeypatch.setattr(segmenter_module, "open_runtime", lambda *_: Blank())
    monkeypatch.setattr(segmenter_module, "adopt_serve_logging", lambda: None)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    limits = ImageLimits(max_pixels=10**8, max_bytes=10**8)
    return Segmenter(["person"], "person", "cpu", "auto", 1, limits)


async def followed(segmenter: Segmenter) -> Footprints:
    """The footprints of one v1 frame, from its message to that of its result."""
    callee = Callee("replica", "127.0.0.1", segmenter.segment)
    pools = Pools({"person": Handle(callee)})  # type: ignore[dict-item]
    world = new_world()
    service = Service(
        settings=world.service.settings,
        modes=world.service.modes,
        analyzer=pools,
        analyst=world.analyst,
        census=FakeCensus(),
        store=world.store,
        metrics=Metrics(MODES),
        pixels_of=lambda _: 1,
    )
    await pools.analyze("person", [])  # the line is there
    socket, footprints = Socket(), Footprints(PICTURE)
    session = Session(service, StarletteTransport(socket.websocket()), visitor(Dialect.V1))
    running = asyncio.create_task(session.run())
    socket.comes(text='{"type":"hello"}')
    await socket.next("text")
    frame = encode_frame(Frame(1, 0, 0, PICTURE))
    with footprints.followed():
        socket.comes(bytes=frame)
        await socket.next("bytes")
    socket.coming.put_nowait({"type": "websocket.disconnect", "code": 1000, "reason": ""})
    await running
    await callee.leave()
    return footprints


async def test_a_frame_passes_each_room_once_in_and_once_out(segmenter: Segmenter) -> None:
    footprints = await followed(segmenter)
    assert rooms_of(footprints.way_in) == [room.place for room in WAY]
    assert rooms_of(footprints.way_out) == [room.place for room in reversed(WAY)]


async def test_it_passes_the_files_of_the_table_in_their_order(segmenter: Segmenter) -> None:
    footprints = await followed(segmenter)
    inwards = [step for room in WAY for step in room.way_in]
    outwards = [step for room in reversed(WAY) for step in room.way_out]
    for passed, steps in ((footprints.way_in, inwards), (footprints.way_out, outwards)):
        beside = {file for step in steps for file in step.beside}
        files = [step.file for step in steps]
        assert [file for file in dict.fromkeys(passed) if file in files] == files
        assert set(passed) == {*files, *beside}


def rooms_of(passed: list[str]) -> list[str]:
    """The rooms of these files, each stay once; files that only count belong to who counts."""
    stays: list[str] = []
    for file in passed:
        (place,) = {
            room.place
            for room in WAY
            for step in (*room.way_in, *room.way_out)
            if file in (step.file, *step.beside) or file.startswith(f"{room.place}/")
        }
        if not stays or stays[-1] != place:
            stays.append(place)
    return stays


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documents_draw_this_way(page: Path) -> None:
    text = page.read_text()
    assert text == with_way(text, PAGES[page]()), "run make docs"


def test_every_room_and_file_of_the_way_is_there() -> None:
    for room in WAY:
        assert (ROOT / room.place).exists()
        for step in (*room.way_in, *room.way_out):
            assert all((ROOT / file).is_file() for file in (step.file, *step.beside))
