"""Connections and frames add up, in any order of events."""

from __future__ import annotations

import asyncio
import json

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from ingress.disconnects import Disconnect, disconnect_seen
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, lost, visitor
from tests.ingress.session.meeting import HELLO
from tests.ingress.turns import end_calls, settle
from tests.ingress.world import World, new_world
from tests.virtual_time import VirtualTimeLoop

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(
            ["frame", "frame", "frame", "ack", "bad", "mode", "stats", "wait", "long wait",
             "stall", "close", "lost", "end", "cancel", "bug"]
        ),
    ),
    max_size=50,
)  # fmt: skip


@given(steps=STEPS, dialects=st.tuples(*[st.sampled_from(Dialect)] * 3))
@hypothesis.settings(max_examples=60)
def test_connections_and_frames_balance_in_any_order_of_events(
    steps: list[tuple[int, str]], dialects: tuple[Dialect, ...]
) -> None:
    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(_balance(steps, dialects))
    finally:
        loop.close()


class Life:
    """One session among several, and what its client does next."""

    def __init__(self, world: World, dialect: Dialect) -> None:
        self.peer = FakeTransport()
        self.session = Session(world.service, self.peer, visitor(dialect))
        self.running = asyncio.create_task(self.session.run())
        self.dialect = dialect
        self.seq = 0
        if dialect is Dialect.V1:
            self.peer.come(HELLO)

    async def live(self, step: str) -> None:
        match step:
            case "frame":
                self.peer.come(self._frame())
            case "ack" if self.dialect is Dialect.V1:
                seq = self.session._credit.sent_seq
                self.peer.come(json.dumps({"type": "ack", "seq": seq}))
            case "bad":
                self.peer.come("nonsense")
            case "mode":
                self.peer.come('{"type":"change_mode","model_mode":"parts"}')
            case "stats":
                self.peer.come('{"type":"get_stats"}')
            case "wait" | "long wait":
                await asyncio.sleep(0.3 if step == "wait" else 12)
            case "stall":
                self.peer.stalled = True
            case "close":
                self.peer.come(disconnect_seen(1000, close_frame=True))
            case "lost":
                self.peer.dead = True
                self.peer.come(lost())
            case "end":
                self.session.end(Disconnect("server_shutdown"))
            case "cancel":
                self.running.cancel()
            case "bug":
                self.peer.come(ZeroDivisionError())

    def _frame(self) -> str | bytes:
        self.seq += 1
        if self.dialect is Dialect.V1:
            return encode_frame(Frame(self.seq, 0, 0, b"picture"))
        return '{"type":"frame","data":"cGljdHVyZQ=="}'


def accepted(world: World) -> float:
    (family,) = world.service.metrics.connections.collect()
    return family.samples[0].value


def ended(world: World) -> float:
    (family,) = world.service.metrics.disconnects.collect()
    return sum(s.value for s in family.samples if s.name.endswith("_total"))


async def _balance(steps: list[tuple[int, str]], dialects: tuple[Dialect, ...]) -> None:
    world = new_world(batching={"max_calls": 1})
    world.analyzer.delay_s = 0.2
    lives = [Life(world, dialect) for dialect in dialects]
    bugs = 0
    for who, step in steps:
        await lives[who].live(step)
        bugs += step == "bug"
        for _ in range(6):
            await settle(1)
            assert accepted(world) == ended(world) + len(world.service.roll)
    await asyncio.sleep(1000)  # every deadline passes
    await asyncio.gather(*(life.running for life in lives), return_exceptions=True)
    await end_calls(world.service)
    assert world.total("ws_disconnects_total") == world.total("ws_connections_total") <= 3
    assert world.total("ws_connections_now") == 0
    frames_in = sum(life.session._account.figures.frames_in for life in lives)
    assert world.total("frames_total") == frames_in
    assert world.total("unhandled_exceptions_total") <= bugs, "the fakes assert, too"
    assert asyncio.all_tasks() == {asyncio.current_task()}
