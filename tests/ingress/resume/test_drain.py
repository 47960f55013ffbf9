"""A replica that is to stop: bye first, closes spread, newcomers turned away, all parked."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, visitor
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


class Peer(FakeTransport):
    """Notes when each message and the close came."""

    def __init__(self) -> None:
        super().__init__()
        self.closed_at = 0.0

    async def close(self, code: int, reason: str) -> None:
        await super().close(code, reason)
        self.closed_at = asyncio.get_running_loop().time()

    def types(self) -> list[str]:
        return [json.loads(text)["type"] for text in self.sent if isinstance(text, str)]


async def connect(
    world: World, dialect: Dialect = Dialect.V1, hello: str | None = '{"type":"hello"}'
) -> tuple[Peer, asyncio.Task[None]]:
    peer = Peer()
    running = asyncio.create_task(Session(world.service, peer, visitor(dialect)).run())
    if dialect is Dialect.V1 and hello:
        peer.come(hello)
    await settle()
    return peer, running


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("clients", "grace_s", "pace_s", "last_close_s"),
    [(4, 9, 0.5, 2), (30, 9, 0.5, 3), (1, 9, 0, 0)],
)
async def test_closes_are_spread_over_at_most_a_third_of_the_grace(
    make_world: MakeWorld, clients: int, grace_s: float, pace_s: float, last_close_s: float
) -> None:
    world = make_world(drain={"grace_s": grace_s, "pace_s": pace_s})
    peers = [await connect(world) for _ in range(clients)]
    began = now()
    await world.service.drainage.run()
    assert now() - began <= 0.9 * grace_s
    closes = [peer.closed_at - began for peer, _ in peers]
    assert closes == sorted(closes)
    assert closes[-1] == pytest.approx(last_close_s, abs=0.01)
    gaps = [b - a for a, b in itertools.pairwise(closes)]
    assert all(gap == pytest.approx(last_close_s / clients, abs=0.01) for gap in gaps)
    assert all(peer.closed is not None and peer.closed[0] == 1012 for peer, _ in peers)
    assert world.store.memory.parked == clients
    assert world.count("drain_duration_seconds_count") == 1
    await asyncio.gather(*(running for _, running in peers))


async def test_all_are_told_first_and_served_until_their_close(make_world: MakeWorld) -> None:
    world = make_world(drain={"grace_s": 12, "pace_s": 2, "retry_ms": (100, 900)})
    (first, _), (last, _) = [await connect(world), await connect(world)]
    draining = asyncio.create_task(world.service.drainage.run())
    await asyncio.sleep(2.5)
    assert (first.closed is None, last.closed) == (False, None)
    bye: dict[str, Any] = json.loads(str(last.sent[-1]))
    assert bye == {
        "type": "bye", "reason": "server_shutdown", "retry_ms": [100, 900], "resume": True,
    }  # fmt: skip
    last.come(encode_frame(Frame(1, 0, 0, b"picture")), '{"type":"get_stats","id":1}')
    await settle()
    assert [parse_result(m).frame_seq for m in last.sent if isinstance(m, bytes)] == [1]
    assert "stats" in last.types()
    await draining
    assert last.types().count("bye") == first.types().count("bye") == 1


async def test_a_plain_client_is_told_by_the_close_alone(world: World) -> None:
    peer, running = await connect(world, Dialect.PLAIN)
    await world.service.drainage.run()
    await running
    assert (peer.types(), peer.closed and peer.closed[0]) == (["connected"], 1012)


@pytest.mark.parametrize("dialect", Dialect)
async def test_newcomers_are_turned_away(world: World, dialect: Dialect) -> None:
    await world.service.drainage.run()
    peer, running = await connect(world, dialect)
    await running
    assert peer.closed is not None
    assert (peer.closed[0], peer.types()) == (1012, [])
    assert world.count("ws_disconnects_total", reason="server_shutdown", initiator="server") == 1


async def test_a_client_that_is_being_greeted_is_let_go_like_the_others(
    make_world: MakeWorld,
) -> None:
    world = make_world(drain={"grace_s": 9, "pace_s": 2})
    old, running = await connect(world)
    welcome = json.loads(str(old.sent[0]))
    await asyncio.sleep(0.1)
    world.store.delay_s = 0.4
    resume = {
        "session": welcome["session"], "token": welcome["resume_token"],
        "last_seq": 0, "last_control": 0,
    }  # fmt: skip
    back, returning = await connect(world, hello=json.dumps({"type": "hello", "resume": resume}))
    await world.service.drainage.run()
    await asyncio.gather(running, returning)
    assert back.types() == ["welcome", "bye"]
    assert (old.closed and old.closed[0], back.closed and back.closed[0]) == (4002, 1012)
    assert world.store.memory.parked == 1


async def test_a_client_that_takes_nothing_does_not_hold_the_drain(make_world: MakeWorld) -> None:
    world = make_world(drain={"grace_s": 3, "pace_s": 0}, limits={"close_timeout_s": 60})
    peer, running = await connect(world)
    peer.stalled = True
    began = now()
    await world.service.drainage.run()
    assert now() - began == pytest.approx(2.7)
    assert world.store.memory.parked == 1, "parked before the close"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_empty_replica_is_drained_at_once(world: World) -> None:
    began = now()
    await world.service.drainage.run()
    assert now() == began
