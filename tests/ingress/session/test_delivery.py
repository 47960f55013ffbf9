"""A session's answers: every frame ends in exactly one result, error or drop."""

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

from ingress.dispatch.flight import AnalysisFailed
from ingress.resume.parked import NewestResult, Parked
from ingress.session.credit import AckAhead
from ingress.wire.words import Dialect
from models.work import FrameFailure, FrameOutcome, FrameRequest
from tests.ingress.fakes import result
from tests.ingress.session.desk import Desk
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World, new_world
from tests.virtual_time import VirtualTimeLoop


async def test_an_acknowledgement_of_what_was_never_sent_is_refused(world: World) -> None:
    with pytest.raises(AckAhead):
        Desk(world).delivery.acknowledge(1)


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
    assert desk.credit.outstanding == 0


async def test_the_end_drops_what_waits_and_cancels_what_is_under_way(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(3)
    await settle()
    desk.end()
    await settle()
    assert busy.analyzer.cancelled == 1
    assert busy.count("frames_dropped_total", cause="disconnected") == 3
    assert desk.size_bytes == 0
    (dropped,) = await desk.said()  # for the ring: a client that resumes is told
    assert (dropped["frames"], dropped["cause"]) == ([1, 2, 3], "disconnected")


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
                desk.delivery.acknowledge(desk.credit.sent_seq)
            case "wait":
                await asyncio.sleep(0.3)
                said += await desk.said()
            case "switch":
                desk.mailbox.switch("parts" if desk.scene.mode == "person" else "person")
            case "stale":
                await asyncio.sleep(2.5)
        assert desk.credit.outstanding <= desk.credit.limit
    desk.end()
    await settle()
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
    desk.delivery.resume(parked(), 5, parked().newest)
    dropped = await desk.outbox.take()
    again = await desk.outbox.take()
    assert json.loads(str(dropped.said))["frames"] == [60]
    assert (again.kind, again.said, again.is_result) == ("result", b"the newest", True)
    assert desk.credit.outstanding == 1, "what was lost holds no credit"
    desk.arrive()
    await settle()
    assert [r.seq for r in await desk.said()] == [8]
    desk.delivery.acknowledge(8)
    assert desk.credit.outstanding == 0


async def test_results_that_were_lost_hold_no_credit_and_are_told(world: World) -> None:
    desk = Desk(world)
    desk.delivery.resume(parked(), 5, None)
    assert (await desk.said())[0]["frames"] == [60, 70]
    assert desk.credit.available == desk.credit.limit
    with pytest.raises(AckAhead):
        desk.delivery.acknowledge(8)


async def test_what_was_sent_again_and_lost_again_is_parked_again(world: World) -> None:
    desk = Desk(world)
    desk.delivery.resume(parked(newest_age_s=0.5), 6, parked(newest_age_s=0.5).newest)
    await asyncio.sleep(1)
    again = desk.end()
    assert (again.result_seq, again.unacked) == (7, ((7, 70),))
    assert again.newest is not None
    assert again.newest.seq == 7
    assert again.newest.age_s == pytest.approx(1.5)
