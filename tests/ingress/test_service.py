"""What the sessions of a replica share."""

from __future__ import annotations

import asyncio

from ingress.disconnects import Disconnect
from ingress.session.life import Session
from ingress.session.single import SingleFrame
from ingress.wire.words import Dialect
from models.catalog import MODES
from models.view import View
from tests.ingress.fakes import FakeTransport, visitor
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


def test_each_mode_has_a_dispatcher_of_its_own(world: World) -> None:
    dispatchers = world.service.dispatchers
    assert [dispatcher.mode for dispatcher in dispatchers.values()] == list(MODES)
    assert len(set(map(id, dispatchers.values()))) == len(MODES)


async def test_the_load_is_that_of_an_idle_replica_at_first(world: World) -> None:
    idle = {"waiting_sessions": 0, "calls_in_flight": 0}
    assert await world.service.load() == {
        "sessions": 0,
        "replicas": {"segmenter-main": 1},
        "queue": dict.fromkeys(MODES, idle),
    }


async def test_the_load_shows_what_waits_in_each_mode(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    shots = [SingleFrame(b"x", View(), "parts").flight(world.service) for _ in range(3)]
    waiting = asyncio.gather(*shots)
    session = Session(world.service, FakeTransport(), visitor(Dialect.PLAIN))
    running = asyncio.create_task(session.run())
    await settle()
    load = await world.service.load()
    assert load["sessions"] == 1
    assert load["queue"]["parts"] == {"waiting_sessions": 2, "calls_in_flight": 1}
    assert load["queue"]["person"] == {"waiting_sessions": 0, "calls_in_flight": 0}
    session.end(Disconnect("server_shutdown"))
    await running
    world.analyzer.gate.set()
    await waiting
