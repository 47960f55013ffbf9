"""One picture over HTTP shares the batches of the streams."""

from __future__ import annotations

import asyncio

import pytest

from ingress.session.single import SingleFrame
from models.view import View
from models.work import FrameResult
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


async def test_a_picture_is_answered(world: World) -> None:
    flight = await SingleFrame(b"picture", View(), "person").flight(world.service)
    assert isinstance(flight.outcome, FrameResult)
    assert flight.outcome.payload == b"picture"


async def test_pictures_that_wait_share_a_call(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    shots = [SingleFrame(b"%d" % i, View(), "person").flight(world.service) for i in range(3)]
    waiting = asyncio.gather(*shots)
    await settle()
    world.analyzer.gate.set()
    await waiting
    assert [batch for _, batch in world.analyzer.calls] == [[b"0"], [b"1", b"2"]]


async def test_a_client_that_leaves_cancels_its_call(world: World) -> None:
    world.analyzer.gate = asyncio.Event()
    waiting = asyncio.create_task(SingleFrame(b"x", View(), "person").flight(world.service))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await settle()
    assert (world.analyzer.cancelled, world.analyzer.running) == (1, 0)
