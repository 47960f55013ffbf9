"""Modes change while frames flow, and clients never meet."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ingress.protocol import Dropped, Error, ModeChanged, Result
from models.catalog import MODES
from tests.integration.pictures import astronaut, decoded, iou, jpeg, moving, png
from tests.integration.v1_client import V1Client, v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration


async def test_every_frame_ends_once_while_the_mode_changes_to_every_mode(
    server: ServeApp,
) -> None:
    frames = [jpeg(frame) for frame in moving(6)]
    async with v1(server.ws) as client:
        for mode in (*MODES, "person"):
            await client.say(f'{{"type":"change_mode","model_mode":"{mode}","id":"{mode}"}}')
            for frame in frames:
                await client.send(frame)
                await client.receive()
            while not any(
                isinstance(m, ModeChanged) and m.reply_to == mode for m in client.control
            ):
                await client.receive()
            seq = await client.send(frames[0])
            last = await client.outcome(seq)
            assert isinstance(last, Result)
            assert last.meta.mode == mode
        await client.settle()
    assert all(len(outcomes) == 1 for outcomes in client.outcomes.values())
    kinds = {type(outcomes[0]) for outcomes in client.outcomes.values()}
    assert kinds <= {Result, Error, Dropped}


async def stream_of(client: V1Client, picture: bytes, tag: int, count: int) -> list[Result]:
    results = []
    for number in range(count):
        outcome = await client.outcome(await client.send(picture, tag * 1000 + number))
        if isinstance(outcome, Result):
            assert outcome.captured_us == tag * 1000 + number
            results.append(outcome)
    return results


@pytest.mark.parametrize("clients", [2, 8])
async def test_clients_never_see_each_others_frames(server: ServeApp, clients: int) -> None:
    portrait = astronaut()
    pictures = [png(np.roll(portrait, 512 * i // clients, axis=1)) for i in range(clients)]

    async def masks(tag: int) -> set[bytes]:
        async with v1(server.ws) as client:
            results = await stream_of(client, pictures[tag], tag, 12)
        return {result.payload for result in results}

    seen = await asyncio.gather(*map(masks, range(clients)))
    # The network is a function: one picture, one mask; another picture, another mask.
    assert [len(payloads) for payloads in seen] == [1] * clients
    shown = [decoded(next(iter(payloads))) > 0 for payloads in seen]
    assert all(iou(one, other) < 0.99 for one in shown for other in shown if one is not other)


async def test_a_client_that_does_not_read_slows_no_other(server: ServeApp) -> None:
    picture = jpeg(astronaut())
    async with v1(server.ws, '{"output":"overlay","format":"png"}') as stalled:
        for _ in range(200):
            await stalled.send(picture)  # and reads nothing
        async with v1(server.ws) as client:
            results = await asyncio.wait_for(stream_of(client, picture, 1, 20), timeout=30)
    assert len(results) == 20
