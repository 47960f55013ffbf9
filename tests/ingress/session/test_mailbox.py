"""Waiting frames: bounded, the newest goes first, nothing leaves without a word."""

from __future__ import annotations

import asyncio

from ingress.wire.words import Dialect
from models.view import View
from tests.ingress.session.desk import Desk
from tests.ingress.turns import settle
from tests.ingress.world import World


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
    assert desk.credit.unacked == desk.credit.limit
    desk.arrive(5)
    await settle()
    assert len(world.analyzer.calls) == 4
    causes = [m["cause"] for m in await desk.said() if isinstance(m, dict)]
    assert causes == ["no_credit"]
    desk.delivery.acknowledge(4)
    await settle()
    results = [m for m in await desk.said() if not isinstance(m, dict)]
    assert [r.frame_seq for r in results] == [9], "the newest, once there is credit"


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


async def test_a_new_mode_takes_the_frames_that_wait_and_its_classes(busy: World) -> None:
    desk = Desk(busy)
    desk.scene.view = View(class_filter=(1,))
    desk.arrive(2)
    desk.mailbox.switch("parts")
    assert busy.analyzer.gate is not None
    busy.analyzer.gate.set()
    await settle()
    assert [mode for mode, _ in busy.analyzer.calls] == ["person", "parts"]
    assert [r.meta.mode for r in await desk.said()] == ["person", "parts"]
    desk.scene.view = View(class_filter=(4, 5))
    desk.mailbox.switch("salient")
    assert desk.scene.view.class_filter is None


async def test_a_dropped_frame_counts_for_the_mode_that_had_it(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(3)  # 1 is under way in person; 2 and 3 wait and go along
    await settle()
    desk.mailbox.switch("parts")
    desk.end()
    dropped = {
        mode: busy.count("frames_total", mode=mode, outcome="dropped")
        for mode in ("person", "parts")
    }
    assert sum(dropped.values()) == 3
    assert dropped["person"] >= 1, dropped


async def test_a_mailbox_holds_no_more_than_its_pictures(busy: World) -> None:
    desk = Desk(busy)
    desk.arrive(3)  # of one byte each; the first is under way
    assert (desk.mailbox.size_bytes, desk.delivery.size_bytes) == (2, 1)


async def test_an_empty_mailbox_gives_nothing(world: World) -> None:
    desk = Desk(world)
    assert not desk.mailbox.is_ready
    assert desk.mailbox.take() is None


async def test_what_a_session_owes_follows_it_into_the_next_mode(world: World) -> None:
    desk, service = Desk(world), world.service
    desk.mailbox.owe(600.0)
    desk.mailbox.switch("parts")
    desk.mailbox.switch("salient")
    assert service.dispatchers["salient"].debt_ms(desk.mailbox.flow) == 600.0
    assert desk.mailbox.end() == 600.0
