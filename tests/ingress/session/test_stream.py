"""A session's frames: every one ends in exactly one result, error or drop."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.dispatch.dispatcher import AnalysisFailed
from ingress.resume.parked import NewestResult, Parked
from ingress.session.dialects import VOICES
from ingress.session.figures import Figures
from ingress.session.mailbox import AckAhead
from ingress.session.outbox import Outbox, Outgoing
from ingress.session.stream import Stream
from ingress.wire.pictures import Frame, parse_result
from ingress.wire.words import Dialect
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest
from tests.ingress.fakes import result
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World, new_world
from tests.virtual_time import VirtualTimeLoop


class Desk:
    """A stream with an outbox that the test empties."""

    def __init__(self, world: World, dialect: Dialect = Dialect.V1) -> None:
        self.full = 0
        self.outbox = Outbox(256, 256 * 1024, self._ring)
        self.figures = Figures()
        self.stream = Stream(world.service, VOICES[dialect], self.outbox, self.figures)
        self.seq = 0

    def _ring(self) -> None:
        self.full += 1

    def arrive(self, count: int = 1) -> None:
        for _ in range(count):
            self.seq += 1
            image = str(self.seq).encode()
            self.stream.arrive(Frame(self.seq, 0, 0, image, timestamp=self.seq))

    async def said(self) -> list[Any]:
        """Everything in the outbox: results as frame seqs or JSON, control as JSON."""
        out: list[Any] = []
        while True:
            try:
                outgoing = await asyncio.wait_for(self.outbox.take(), 0.001)
            except TimeoutError:
                return out
            if outgoing.is_result:
                self.stream.sent_one()
            data = outgoing.data
            out.append(json.loads(data) if isinstance(data, str) else parse_result(data))


@pytest.fixture
def busy(make_world: MakeWorld) -> World:
    """One call at a time, held until the gate opens."""
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    return world


async def test_the_newest_frame_wins_and_older_ones_leave_when_a_call_starts(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(3)  # 1 is under way, 2 and 3 wait
    await settle()
    assert await desk.said() == []
    assert busy.analyzer.gate is not None
    busy.analyzer.gate.set()
    await settle()
    dropped, first, second = await desk.said()
    assert (dropped["frames"], dropped["cause"]) == ([2], "superseded")
    assert (first.frame_seq, second.frame_seq) == (1, 3)
    assert busy.count("frames_dropped_total", cause="superseded") == 1


async def test_more_frames_than_may_wait_displace_the_oldest_at_once(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(6)  # 1 under way, 2 to 5 wait, 6 displaces 2
    dropped = (await desk.said())[0]
    assert (dropped["frames"], dropped["cause"]) == ([2], "superseded")


async def test_without_credit_frames_wait_and_are_not_analyzed(world: World) -> None:
    desk = Desk(world)
    for _ in range(4):
        desk.arrive()
        await settle()
    assert desk.stream.credit_exhausted
    desk.arrive(5)
    await settle()
    assert len(world.analyzer.calls) == 4
    causes = [m["cause"] for m in await desk.said() if isinstance(m, dict)]
    assert causes == ["no_credit"]
    desk.stream.acknowledge(4)
    await settle()
    results = [m for m in await desk.said() if not isinstance(m, dict)]
    assert [r.frame_seq for r in results] == [9], "the newest, once there is credit"


async def test_an_acknowledgement_of_what_was_never_sent_is_refused(world: World) -> None:
    with pytest.raises(AckAhead):
        Desk(world).stream.acknowledge(1)


async def test_plain_answers_come_in_the_order_of_the_frames(make_world: MakeWorld) -> None:
    world = make_world(replicas={"person": 2})  # four calls at once, from the start

    async def slowest_first(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        await asyncio.sleep(10 - int(frames[0].image))
        if frames[0].image == b"2":
            return [FrameFailure("FRAME_REJECTED", "not an image")]
        return [result(frame) for frame in frames]

    world.analyzer.answer = slowest_first
    desk = Desk(world, Dialect.PLAIN)
    for _ in range(3):
        desk.arrive()
        await settle()
    await asyncio.sleep(11)
    said = await desk.said()
    assert [m["timestamp"] for m in said] == [1, 2, 3]
    assert [m["type"] for m in said] == ["segmentation", "error", "segmentation"]
    assert base64.b64decode(said[0]["data"]) == b"1"
    assert said[0]["metadata"]["detected_classes"] == ["person"]


async def test_a_plain_client_beyond_three_in_flight_loses_the_oldest_that_waits(
    busy: World,
) -> None:
    desk = Desk(busy, Dialect.PLAIN)
    desk.arrive()
    await settle()
    desk.arrive(3)
    said = await desk.said()
    assert [(m["code"], m["timestamp"]) for m in said] == [("FRAME_DROPPED", 2)]


async def test_three_plain_frames_in_flight_are_all_answered(busy: World) -> None:
    desk = Desk(busy, Dialect.PLAIN)
    desk.arrive(3)
    assert busy.analyzer.gate is not None
    busy.analyzer.gate.set()
    await settle()
    assert [m["timestamp"] for m in await desk.said()] == [1, 2, 3]


async def test_a_frame_that_waited_too_long_is_stale(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(2)
    await asyncio.sleep(3)
    assert busy.analyzer.gate is not None
    busy.analyzer.gate.set()
    await settle()
    dropped, answered = await desk.said()
    assert (dropped["frames"], dropped["cause"], answered.frame_seq) == ([2], "stale", 1)


async def test_frames_of_a_mode_without_replicas_are_dropped_as_such(world: World) -> None:
    async def gone(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        raise AnalysisFailed("DeploymentUnavailableError", unavailable=True)

    world.analyzer.answer = gone
    desk = Desk(world)
    desk.arrive()
    await settle()
    assert (await desk.said())[0]["cause"] == "mode_unavailable"


async def test_a_failed_call_is_an_error_that_names_the_frame_and_gives_its_credit_back(
    world: World,
) -> None:
    async def fail(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        raise AnalysisFailed("RayTaskError: secret")

    world.analyzer.answer = fail
    desk = Desk(world)
    desk.arrive()
    await settle()
    error = (await desk.said())[0]
    assert (error["code"], error["frame_seq"]) == ("INFERENCE_FAILED", 1)
    assert "secret" not in error["message"]
    assert desk.stream.window.outstanding == 0


async def test_a_new_mode_takes_the_frames_that_wait_and_its_classes(busy: World) -> None:
    desk = Desk(busy)
    desk.stream.view = View(class_filter=(1,))
    desk.arrive(2)
    desk.stream.switch("parts")
    assert busy.analyzer.gate is not None
    busy.analyzer.gate.set()
    await settle()
    assert [mode for mode, _ in busy.analyzer.calls] == ["person", "parts"]
    assert [r.meta.mode for r in await desk.said()] == ["person", "parts"]
    desk.stream.view = View(class_filter=(4, 5))
    desk.stream.switch("salient")
    assert desk.stream.view.class_filter is None


async def test_masks_for_statistics_are_the_recent_ones_of_the_mode(world: World) -> None:
    desk = Desk(world)
    for _ in range(3):
        desk.arrive()
        await asyncio.sleep(6)
        desk.stream.acknowledge(desk.stream.window.sent_seq)
    assert len(desk.stream.masks) == 2
    desk.stream.switch("parts")
    assert len(desk.stream.masks) == 0


async def test_the_end_drops_what_waits_and_cancels_what_is_under_way(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(3)
    await settle()
    desk.stream.end()
    await settle()
    assert busy.analyzer.cancelled == 1
    assert busy.count("frames_dropped_total", cause="disconnected") == 3
    assert desk.stream.size_bytes == 0
    (dropped,) = await desk.said()  # for the ring: a client that resumes is told
    assert (dropped["frames"], dropped["cause"]) == ([1, 2, 3], "disconnected")


async def test_a_dropped_frame_counts_for_the_mode_that_had_it(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(3)  # 1 is under way in person; 2 and 3 wait and go along
    await settle()
    desk.stream.switch("parts")
    desk.stream.end()
    dropped = {
        mode: busy.count("frames_total", mode=mode, outcome="dropped")
        for mode in ("person", "parts")
    }
    assert sum(dropped.values()) == 3
    assert dropped["person"] >= 1, dropped


STEPS = st.lists(
    st.sampled_from(["arrive", "arrive", "arrive", "ack", "wait", "switch", "stale"]), max_size=60
)


@given(steps=STEPS, dialect=st.sampled_from(Dialect), fail_every=st.integers(2, 9))
def test_every_frame_ends_exactly_once_whatever_happens(
    steps: list[str], dialect: Dialect, fail_every: int
) -> None:
    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(_conserve(steps, dialect, fail_every))
    finally:
        loop.close()


async def _conserve(steps: list[str], dialect: Dialect, fail_every: int) -> None:
    world = new_world()
    calls = Counter[str]()

    async def answer(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        calls["made"] += 1
        await asyncio.sleep(0.5)
        if calls["made"] % fail_every == 0:
            raise AnalysisFailed("lost", unavailable=calls["made"] % 2 == 0)
        return [
            FrameFailure("FRAME_REJECTED", "no") if int(f.image) % fail_every == 0 else result(f)
            for f in frames
        ]

    world.analyzer.answer = answer
    desk = Desk(world, dialect)
    said: list[Any] = []
    for step in steps:
        match step:
            case "arrive":
                desk.arrive()
            case "ack" if dialect is Dialect.V1:
                desk.stream.acknowledge(desk.stream.window.sent_seq)
            case "wait":
                await asyncio.sleep(0.3)
                said += await desk.said()
            case "switch":
                desk.stream.switch("parts" if desk.stream.mode == "person" else "person")
            case "stale":
                await asyncio.sleep(2.5)
        assert desk.stream.window.outstanding <= desk.stream.window.limit
    desk.stream.end()
    await world.service.close()
    said += await desk.said()
    counted = {
        outcome: sum(
            world.count("frames_total", mode=mode, outcome=outcome) for mode in world.service.modes
        )
        for outcome in ("result", "error", "dropped")
    }
    assert sum(counted.values()) == desk.seq
    ended = Counter(seq for message in said for seq in _frames_of(message))
    assert len(ended) == desk.seq
    assert set(ended.values()) <= {1}


def _frames_of(message: Any) -> list[int]:
    """The frames that a message ends."""
    if not isinstance(message, dict):
        return [message.frame_seq]
    if message["type"] == "dropped":
        return list(message["frames"])
    return [message.get("frame_seq") or message["timestamp"]]


# ------------------------------------------------------------------ resumed


def parked(newest_age_s: float = 0.5) -> Parked:
    return Parked(
        result_seq=7,
        unacked=((6, 60), (7, 70)),
        newest=NewestResult(7, 70, b"the newest", newest_age_s),
    )


async def test_a_resumed_stream_sends_the_newest_again_and_tells_of_the_others(
    world: World,
) -> None:
    desk = Desk(world)
    desk.stream.resume(parked(), 5, parked().newest)
    dropped = await desk.outbox.take()
    again = await desk.outbox.take()
    assert json.loads(str(dropped.data))["frames"] == [60]
    assert again == Outgoing("result", b"the newest", is_result=True)
    assert desk.stream.window.outstanding == 1, "what was lost holds no credit"
    desk.arrive()
    await settle()
    assert [r.seq for r in await desk.said()] == [8]
    desk.stream.acknowledge(8)
    assert desk.stream.window.outstanding == 0


async def test_results_that_were_lost_hold_no_credit_and_are_told(world: World) -> None:
    desk = Desk(world)
    desk.stream.resume(parked(), 5, None)
    assert (await desk.said())[0]["frames"] == [60, 70]
    assert desk.stream.window.available == desk.stream.window.limit
    with pytest.raises(AckAhead):
        desk.stream.acknowledge(8)


async def test_what_was_sent_again_and_lost_again_is_parked_again(world: World) -> None:
    desk = Desk(world)
    desk.stream.resume(parked(newest_age_s=0.5), 6, parked(newest_age_s=0.5).newest)
    await asyncio.sleep(1)
    again = desk.stream.end()
    assert (again.result_seq, again.unacked) == (7, ((7, 70),))
    assert again.newest is not None
    assert again.newest.seq == 7
    assert again.newest.age_s == pytest.approx(1.5)


async def test_a_view_outlives_a_mode_that_is_no_more(world: World) -> None:
    desk = Desk(world)
    desk.stream.adopt("withdrawn", View(quality=33, class_filter=(1, 5)))
    assert (desk.stream.mode, desk.stream.view.quality) == ("person", 33)
    assert desk.stream.view.class_filter == (1,)
