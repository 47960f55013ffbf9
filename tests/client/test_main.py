"""The command line: what it takes, what it prints, how it exits."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from client.__main__ import main, run
from client.arguments import parse
from client.outcomes import NoResult, Refused
from client.sources import Unreadable
from ingress.wire.pictures import Frame
from ingress.wire.replies import Error, VizUpdated
from ingress.wire.requests import Ack, UpdateViz
from ingress.wire.words import ErrorCode
from tests.client.fake_server import FakeServer, KeptSession, reply_to, welcome

ROOT = Path(__file__).parents[2]
URL = "ws://127.0.0.1:9/ws"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"jpeg")
    return path


async def served(server: FakeServer, *arguments: str) -> None:
    """Run the command against a server that answers everything."""

    async def serve() -> None:
        await (await server.peer()).serve()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        await run(parse([server.url, *arguments]))


async def test_one_picture_is_segmented_and_written(
    server: FakeServer, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mask.png"
    await served(server, "--image", str(picture), "--out", str(out), "--mode", "parts")
    assert out.read_bytes() == b"mask"
    assert capsys.readouterr().out == "person: person 25.0%; 640x480 image/png, 5.0 ms\n"


async def test_the_view_asked_for_is_set_before_the_first_frame(
    server: FakeServer, picture: Path
) -> None:
    command = [server.url, "--image", str(picture), "--output", "alpha", "--viz", "max_side=320"]
    running = asyncio.create_task(run(parse(command)))
    peer = await server.peer()
    request = await peer.hear(UpdateViz)
    assert request.settings == {"output": "alpha", "max_side": 320}
    await peer.say(
        Error(reply_to=request.id, code=ErrorCode.VIZ_UPDATE_FAILED, message="max_side: too small")
    )
    with pytest.raises(Refused, match="max_side: too small"):
        await running


async def test_a_stream_of_the_sample_ends_with_a_summary(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await served(server, "--sample", "--fps", "1000", "--count", "6", "--show-stats")
    printed = capsys.readouterr().out
    assert "sent      6 frames" in printed
    assert "results   6," in printed
    assert "dropped   none" in printed
    assert json.loads(printed[printed.index("{") :])["avg_fps"] == 30.0


async def test_a_mode_that_the_server_lacks_is_named_with_the_nearest(
    server: FakeServer, picture: Path
) -> None:
    running = asyncio.create_task(
        run(parse([server.url, "--image", str(picture), "--mode", "persn"]))
    )
    await server.peer()
    with pytest.raises(Unreadable, match='did you mean "person"'):
        await running


async def test_a_refused_picture_is_told(server: FakeServer, picture: Path) -> None:
    running = asyncio.create_task(run(parse([server.url, "--image", str(picture)])))
    peer = await server.peer()
    viz = await peer.hear(UpdateViz)
    await peer.say(VizUpdated(reply_to=viz.id, settings={}))
    frame = await peer.hear(Frame)
    await peer.say(Error(code=ErrorCode.FRAME_REJECTED, message="no JPEG", frame_seq=frame.seq))
    with pytest.raises(NoResult, match="no JPEG"):
        await running


async def test_a_lost_connection_is_told_on_stderr_and_counted(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection is lost once, on the third frame."""
    kept = KeptSession(lambda: len(kept.frames) == 3 and kept.connections == 1)

    async def serve() -> None:
        for _ in range(2):
            await kept.serve(await server.stranger())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve())
        await run(parse([server.url, "--sample", "--fps", "1000", "--count", "12"]))
    printed = capsys.readouterr()
    assert "sent      12 frames" in printed.out
    assert "returns   1 reconnected, 1 resumed" in printed.out
    lost, back = printed.err.splitlines()
    assert lost == "client: the connection closed with code 1006 (connection lost); coming back"
    assert back.startswith("client: connected again after ")
    assert back.endswith(" s, session resumed")


async def test_one_picture_is_sent_again_when_its_connection_is_lost(
    server: FakeServer, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = asyncio.create_task(run(parse([server.url, "--image", str(picture)])))
    peer = await server.peer(welcome(resume_token="t1"))
    await peer.say(reply_to(await peer.hear(UpdateViz)))
    await peer.hear(Frame)
    peer.cut()
    peer = await server.peer(welcome(resume_token="t2"))
    await peer.hear(Ack)
    await peer.say(reply_to(await peer.hear(UpdateViz)))
    await peer.send_result(1, await peer.hear(Frame))
    await running
    printed = capsys.readouterr()
    assert printed.out.startswith("person: person 25.0%")
    assert printed.err.endswith("s, new session (not resumed)\n")


def test_no_server_exits_with_3(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws"
        assert main([url, "--image", str(picture)]) == 3
    assert capsys.readouterr().err.startswith(f"client: cannot connect to {url}")


def test_a_missing_picture_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([URL, "--image", str(tmp_path / "none.jpg")]) == 2
    assert "none.jpg" in capsys.readouterr().err


def test_it_runs_as_a_module_from_the_root() -> None:
    command = [sys.executable, "-m", "client", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "ws://host:port/ws" in shown.stdout
