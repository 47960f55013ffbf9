"""Mode, view and statistics, asked for while frames flow: one reply each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ingress.service import StatsFailed
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.words import Dialect
from models.view import View
from models.work import FrameOutcome, FrameRequest
from tests.ingress.fakes import FakeTransport, lost, result, visitor
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


class Talk:
    """A greeted session and what it said since the greeting."""

    def __init__(self, peer: FakeTransport, session: Session) -> None:
        self.peer = peer
        self.session = session
        self._heard = 0

    async def ask(self, **message: Any) -> list[dict[str, Any]]:
        self.peer.come(json.dumps(message))
        return await self.heard()

    async def heard(self) -> list[dict[str, Any]]:
        """New text messages, pings left out."""
        await settle()
        new = [m for m in self.peer.sent if isinstance(m, str)][self._heard :]
        self._heard += len(new)
        return [m for m in map(json.loads, new) if m["type"] != "ping"]


@asynccontextmanager
async def talk(world: World) -> AsyncIterator[Talk]:
    peer = FakeTransport()
    session = Session(world.service, peer, visitor(Dialect.V1))
    running = asyncio.create_task(session.run())
    talking = Talk(peer, session)
    await talking.ask(type="hello")
    yield talking
    peer.come(lost())
    await running


async def test_a_mode_is_confirmed_when_it_is_ready_and_frames_go_on_in_the_old_one(
    world: World,
) -> None:
    world.analyzer.prepare_s["parts"] = 5
    async with talk(world) as client:
        assert await client.ask(type="change_mode", model_mode="parts", id=1) == []
        client.peer.come(encode_frame(Frame(1, 0, 0, b"x")))
        await settle()
        assert world.analyzer.calls == [("person", [b"x"])]
        await asyncio.sleep(5.1)
        (reply,) = await client.heard()
        assert (reply["type"], reply["reply_to"], reply["model_mode"]) == (
            "mode_changed", 1, "parts",
        )  # fmt: skip
        assert reply["class_labels"][1] == "hair"
        client.peer.come(encode_frame(Frame(2, 0, 0, b"y")))
        await settle()
        assert world.analyzer.calls[-1] == ("parts", [b"y"])


async def test_an_unknown_mode_names_the_nearest_and_changes_nothing(world: World) -> None:
    async with talk(world) as client:
        (error,) = await client.ask(type="change_mode", model_mode="persn", id="a")
        assert (error["code"], error["reply_to"]) == ("INVALID_MODE", "a")
        assert 'did you mean "person"' in error["message"]
        assert client.session._scene.mode == "person"


async def test_a_mode_that_fails_to_load_leaves_the_old_one(world: World) -> None:
    world.analyzer.broken_modes.add("parts")
    async with talk(world) as client:
        (error,) = await client.ask(type="change_mode", model_mode="parts")
        assert error["code"] == "MODE_CHANGE_FAILED"
        assert client.session._scene.mode == "person"


async def test_a_mode_that_takes_for_ever_is_given_up(make_world: MakeWorld) -> None:
    world = make_world(batching={"prepare_timeout_s": 7}, keepalive={"timeout_s": 600})
    world.analyzer.prepare_s["parts"] = 1000
    async with talk(world) as client:
        await client.ask(type="change_mode", model_mode="parts")
        await asyncio.sleep(8)
        (error,) = await client.heard()
        assert error["code"] == "MODE_CHANGE_FAILED"
        assert "within 7 s" in error["message"]


async def test_the_newest_change_of_mode_wins_and_the_overtaken_one_is_told(world: World) -> None:
    world.analyzer.prepare_s["salient"] = 5
    async with talk(world) as client:
        await client.ask(type="change_mode", model_mode="salient", id="slow")
        (quick,) = await client.ask(type="change_mode", model_mode="parts", id="quick")
        assert (quick["type"], quick["reply_to"]) == ("mode_changed", "quick")
        await asyncio.sleep(6)
        (overtaken,) = await client.heard()
        assert (overtaken["code"], overtaken["reply_to"]) == ("MODE_CHANGE_FAILED", "slow")
        assert client.session._scene.mode == "parts"


async def test_commands_under_way_are_bounded(make_world: MakeWorld) -> None:
    world = make_world(limits={"max_commands": 2})
    world.analyzer.prepare_s.update({"parts": 5, "salient": 5})
    async with talk(world) as client:
        await client.ask(type="change_mode", model_mode="parts")
        await client.ask(type="change_mode", model_mode="salient")
        (error,) = await client.ask(type="get_stats", id=9)
        assert (error["code"], error["reply_to"]) == ("RATE_LIMITED", 9)


async def test_settings_are_applied_whole_or_not_at_all(world: World) -> None:
    async with talk(world) as client:
        (error,) = await client.ask(
            type="update_viz", settings={"overlay_opacity": 0.2, "quality": 1000}
        )
        assert error["code"] == "VIZ_UPDATE_FAILED"
        assert "quality" in error["message"]
        (updated,) = await client.ask(type="update_viz", settings={"output": "mask"}, id=3)
        assert (updated["reply_to"], updated["settings"]["output"]) == (3, "mask")
        assert updated["settings"]["overlay_opacity"] == 0.6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"opacity": 0.2}, "opacity: unknown key"),
        ({"overlay_opacty": 0.2}, 'did you mean "overlay_opacity"'),
        ({"class_filter": [0, 7]}, "no class 7; this mode has 0 to 1"),
        ({"class_filter": "1"}, "class_filter"),
        ({"overlay_opacity": "0.2"}, "overlay_opacity"),
        ({"output": "video"}, "output"),
        ({"visualization_mode": "filled", "format": "gif"}, "format"),
    ],
)
async def test_settings_that_are_not_allowed_are_named_and_change_nothing(
    world: World, settings: dict[str, Any], words: str
) -> None:
    async with talk(world) as client:
        before = client.session._scene.view
        (error,) = await client.ask(type="update_viz", settings=settings, id=2)
        assert (error["code"], error["reply_to"]) == ("VIZ_UPDATE_FAILED", 2)
        assert words in error["message"]
        assert client.session._scene.view is before


async def test_settings_hold_from_the_next_frame_on(world: World) -> None:
    views: list[View] = []

    async def look(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        views.extend(frame.view for frame in frames)
        return [result(frame) for frame in frames]

    world.analyzer.answer = look
    async with talk(world) as client:
        client.peer.come(encode_frame(Frame(1, 0, 0, b"x")))
        await settle()
        await client.ask(type="update_viz", settings={"output": "mask"})
        client.peer.come(encode_frame(Frame(2, 0, 0, b"y")))
        await settle()
    assert [view.output for view in views] == ["overlay", "mask"]


async def test_statistics_have_the_original_fields_and_three_groups(world: World) -> None:
    async with talk(world) as client:
        client.peer.come(encode_frame(Frame(1, 0, 0, b"x")))
        await settle()
        (stats,) = await client.ask(type="get_stats", id=1)
        assert (stats["type"], stats["reply_to"]) == ("stats", 1)
        assert (stats["avg_inference_ms"], stats["min_inference_ms"]) == (2.0, 2.0)
        assert stats["session"]["results_out"] == 1
        assert stats["scene"] == {"frames": 1}
        assert stats["server"]["sessions"] == 1
        assert stats["server"]["replicas"] == {"segmenter-main": 1}


async def test_statistics_that_fail_are_an_error(world: World) -> None:
    world.analyst.failure = StatsFailed("the statistics took too long; try again")
    async with talk(world) as client:
        (error,) = await client.ask(type="get_stats", id=1)
        assert (error["code"], error["reply_to"]) == ("STATS_FAILED", 1)


async def test_a_subscription_sends_statistics_at_its_interval_until_it_ends(world: World) -> None:
    async with talk(world) as client:
        (first,) = await client.ask(type="subscribe_stats", interval_s=2, id="s")
        assert first["reply_to"] == "s"
        await asyncio.sleep(6.1)
        later = await client.heard()
        assert [m["type"] for m in later] == ["stats"] * 3
        assert all("reply_to" not in m for m in later)
        (last,) = await client.ask(type="subscribe_stats", interval_s=0, id="end")
        assert last["reply_to"] == "end"
        await asyncio.sleep(6)
        assert await client.heard() == []


async def test_a_subscription_that_is_overtaken_still_gets_its_reply(world: World) -> None:
    world.analyst.delay_s = 3
    async with talk(world) as client:
        for name in ("first", "second", "end"):
            interval_s = 0 if name == "end" else 5
            await client.ask(type="subscribe_stats", interval_s=interval_s, id=name)
        await asyncio.sleep(4)
        assert {m["reply_to"] for m in await client.heard()} == {"first", "second", "end"}
        await asyncio.sleep(8)
        assert await client.heard() == []


async def test_a_newer_subscription_takes_the_place_of_the_older(world: World) -> None:
    async with talk(world) as client:
        await client.ask(type="subscribe_stats", interval_s=2)
        await client.ask(type="subscribe_stats", interval_s=4)
        await asyncio.sleep(8.1)
        assert len(await client.heard()) == 2


async def test_an_interval_is_not_shorter_than_the_least(world: World) -> None:
    async with talk(world) as client:
        await client.ask(type="subscribe_stats", interval_s=0.001)
        await asyncio.sleep(1.1)
        assert len(await client.heard()) == 5


async def test_subscriptions_count_among_the_commands_under_way(make_world: MakeWorld) -> None:
    world = make_world(limits={"max_commands": 2})
    world.analyst.delay_s = 3
    async with talk(world) as client:
        await client.ask(type="subscribe_stats", interval_s=1)
        await client.ask(type="subscribe_stats", interval_s=1)
        (error,) = await client.ask(type="subscribe_stats", interval_s=1, id="x")
        assert (error["code"], error["reply_to"]) == ("RATE_LIMITED", "x")


@pytest.mark.parametrize("interval_s", [-1, 1e9])
async def test_an_interval_out_of_range_is_refused(world: World, interval_s: float) -> None:
    async with talk(world) as client:
        (error,) = await client.ask(type="subscribe_stats", interval_s=interval_s)
        assert (error["code"], "interval_s" in error["message"]) == ("BAD_MESSAGE", True)


async def test_commands_that_the_end_cuts_short_are_answered_in_the_ring(world: World) -> None:
    world.analyst.delay_s = 100
    world.analyzer.prepare_s["parts"] = 100
    async with talk(world) as client:
        await client.ask(type="get_stats", id="stats")
        await client.ask(type="change_mode", model_mode="parts", id="mode")
        await client.ask(type="subscribe_stats", interval_s=1, id="subscription")
        ring = client.session._ring
        assert list(ring) == []
    replies = [json.loads(message.text) for message in ring]
    assert {(m["reply_to"], m["code"]) for m in replies} == {
        ("stats", "STATS_FAILED"),
        ("mode", "MODE_CHANGE_FAILED"),
        ("subscription", "STATS_FAILED"),
    }
    assert [m["control_seq"] for m in replies] == [1, 2, 3]


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        ({"type": "get_stats"}, True),
        ({"type": "change_mode", "model_mode": "nonsense"}, True),
        ({"type": "update_viz", "settings": 7}, True),
        ({"type": "ping", "t": 1}, False),  # a pong is of its connection
        ({"type": "ack", "seq": 0}, False),
    ],
)
async def test_the_last_request_is_one_whose_reply_is_numbered(
    world: World, message: dict[str, Any], counts: bool
) -> None:
    async with talk(world) as client:
        await client.ask(type="get_stats", id="before")
        await client.ask(id="this", **message)
        assert client.session._progress.last_request == ("this" if counts else "before")
