"""Clients of v1 beside others: each has its own frames, and none waits for another."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect

from ingress.wire.pictures import Result
from tests.integration.pictures import astronaut, decoded, iou, jpeg, png
from tests.integration.v1_client import V1Client, v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 12


async def v1_masks(server: ServeApp, picture: bytes, tag: int) -> set[bytes]:
    """What a v1 client gets for one picture sent over and over."""
    async with v1(server.ws) as client:
        return {result.payload for result in await stream_of(client, picture, tag, ROUNDS)}


async def stream_of(client: V1Client, picture: bytes, tag: int, count: int) -> list[Result]:
    results = []
    for number in range(count):
        outcome = await client.outcome(await client.send(picture, tag * 1000 + number))
        assert isinstance(outcome, Result)
        assert outcome.captured_us == tag * 1000 + number
        results.append(outcome)
    return results


async def plain_masks(server: ServeApp, picture: bytes, tag: int) -> set[bytes]:
    """What a plain client gets for one picture sent over and over."""
    frame = {"type": "frame", "data": base64.b64encode(picture).decode()}
    payloads = set()
    async with connect(server.ws, max_size=None) as socket:
        await socket.recv()
        await socket.send('{"type":"update_viz","settings":{"output":"mask"}}')
        await socket.recv()
        for number in range(ROUNDS):
            await socket.send(json.dumps({**frame, "timestamp": tag * 1000 + number}))
            answer = json.loads(await socket.recv())
            assert answer["timestamp"] == tag * 1000 + number
            payloads.add(base64.b64decode(answer["data"]))
    return payloads


@pytest.mark.parametrize("clients", [2, 8])
async def test_clients_never_see_each_others_frames(server: ServeApp, clients: int) -> None:
    portrait = astronaut()
    pictures = [png(np.roll(portrait, 512 * i // clients, axis=1)) for i in range(clients)]
    seen = await asyncio.gather(
        *(
            (plain_masks if tag % 2 else v1_masks)(server, picture, tag)
            for tag, picture in enumerate(pictures)
        )
    )
    # The network is a function: one picture, one mask; another picture, another mask.
    assert [len(payloads) for payloads in seen] == [1] * clients
    shown = [decoded(next(iter(payloads))) > 0 for payloads in seen]
    assert all(iou(one, other) < 0.99 for one in shown for other in shown if one is not other)


async def test_a_v1_client_that_does_not_read_slows_no_other(server: ServeApp) -> None:
    picture = jpeg(astronaut())
    async with v1(server.ws, '{"output":"overlay","format":"png"}') as stalled:
        for _ in range(200):
            await stalled.send(picture)  # and reads nothing
        async with v1(server.ws) as client:
            results = await asyncio.wait_for(stream_of(client, picture, 1, 20), timeout=30)
        stalled.socket.transport.abort()
    assert len(results) == 20


async def test_a_plain_client_that_does_not_read_slows_no_other(server: ServeApp) -> None:
    picture = jpeg(astronaut())
    frame = json.dumps({"type": "frame", "data": base64.b64encode(picture).decode()})
    async with connect(server.ws, max_size=None, max_queue=1) as stalled:
        for _ in range(200):
            await stalled.send(frame)  # and reads nothing
        async with v1(server.ws) as client:
            results = await asyncio.wait_for(stream_of(client, picture, 1, 20), timeout=30)
        stalled.transport.abort()
    assert len(results) == 20


def command(server: ServeApp, *arguments: str) -> str:
    """What the command line client prints."""
    done = subprocess.run(
        [sys.executable, "-m", "client", server.ws, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_client_writes_a_mask(server: ServeApp, tmp_path: Path) -> None:
    picture, mask = tmp_path / "in.jpg", tmp_path / "mask.png"
    picture.write_bytes(jpeg(astronaut()))
    said = command(server, "--image", str(picture), "--out", str(mask))
    assert "person: person" in said
    labels = decoded(mask.read_bytes())
    assert labels.shape == (512, 512)
    assert 0.2 < labels.mean() < 0.8, "the portrait fills about half of its frame"


def test_the_command_line_client_streams_its_sample(server: ServeApp) -> None:
    said = command(server, "--sample", "--count", "30", "--mode", "person-wide")
    assert "sent      30 frames" in said
    assert "failed    none" in said
