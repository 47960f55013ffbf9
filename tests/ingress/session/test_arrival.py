"""A client arrives: greeted anew, turned away, or welcomed back where it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import Dialect
from models.work import FrameFailure, FrameOutcome, FrameRequest
from tests.ingress.fakes import FakeTransport, lost
from tests.ingress.session.meeting import HELLO, Lines, Returning, check_end, said, session
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


async def test_a_full_server_says_so_after_accept(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(admission={"max_sessions": 1, "returning_sessions": 0})
    async with session(world, peer):
        peer.come(HELLO)
        await settle()
        late = FakeTransport()
        async with session(world, late):
            pass
        assert late.closed is not None
        assert late.closed[0] == 1013
        peer.come(lost())
    assert world.total("ws_connections_total") == world.total("ws_disconnects_total") == 2


async def test_who_says_no_hello_gives_way_where_the_places_are_taken(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(admission={"max_ungreeted": 1, "ungreeted_grace_s": 1})
    quotas = world.service.gate.quotas
    quotas._clock = asyncio.get_running_loop().time
    async with session(world, peer):
        await asyncio.sleep(1)
        quotas.knock(None)
    assert peer.closed == (1013, "others wait for this place, without a hello")
    check_end(world, lines, "overloaded")


async def test_a_plain_client_is_greeted_first(world: World, peer: FakeTransport) -> None:
    async with session(world, peer, Dialect.PLAIN):
        peer.come(lost())
    assert peer.subprotocol is None
    assert said(peer) == [
        {
            "type": "connected",
            "status": "ready",
            "available_models": ["person", "person-wide", "parts", "salient"],
            "class_labels": ["background", "person"],
            "current_model": "person",
        }
    ]


async def test_hello_is_welcomed_with_the_limits(world: World, peer: FakeTransport) -> None:
    async with session(world, peer):
        peer.come('{"type":"hello","id":"h"}', '{"type":"hello"}')
        await settle()
        peer.come(lost())
    welcome, refused = said(peer)
    assert (peer.subprotocol, welcome["type"], welcome["reply_to"]) == (
        "segstream.v1", "welcome", "h",
    )  # fmt: skip
    assert (welcome["max_in_flight"], welcome["heartbeat_s"], welcome["resumed"]) == (4, 10, False)
    assert [mode["name"] for mode in welcome["modes"]] == list(world.service.modes)
    assert (refused["code"], refused["message"]) == ("BAD_MESSAGE", "hello: was said already")


async def test_a_session_goes_on_where_its_connection_was_lost(
    world: World, peer: FakeTransport
) -> None:
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        peer.come(
            '{"type":"change_mode","model_mode":"parts","id":1}',
            '{"type":"update_viz","settings":{"quality":50},"id":2}',
            '{"type":"subscribe_stats","interval_s":2,"id":3}',
        )
        await client.heard()
        peer.come(encode_frame(Frame(1, 0, 0, b"picture")), '{"type":"get_stats","id":4}')
        await settle()  # both are answered; the client never hears of it
        peer.come(lost())
    back = FakeTransport()
    async with session(world, back):
        client.hello(back)
        welcome, stats, result = await client.heard()
        assert (welcome["resumed"], welcome["last_request"]) == (True, 4)
        assert (welcome["mode"], welcome["viz"]["quality"]) == ("parts", 50)
        assert (stats["reply_to"], stats["control_seq"]) == (4, 4)
        assert (result.seq, result.frame_seq) == (1, 1)
        back.come(encode_frame(Frame(2, 1, 0, b"next")))
        await settle()
        assert parse_result(back.sent[-1]).seq == 2  # type: ignore[arg-type]
        await asyncio.sleep(2.1)
        assert (said(back)[-1]["type"], said(back)[-1]["control_seq"]) == ("stats", 5)
        back.come(lost())
    assert world.count("session_resumes_total", outcome="resumed") == 1


async def test_a_resume_pays_what_was_had_in_advance(world: World, peer: FakeTransport) -> None:
    client = Returning()

    async def dear(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        return [FrameFailure("FRAME_REJECTED", "", 900.0) for _ in frames]

    world.analyzer.answer = dear
    async with session(world, peer):
        client.hello(peer)
        await client.heard()
        for seq in (1, 2):
            peer.come(encode_frame(Frame(seq, 0, 0, b"picture")))
            await settle()
        peer.come(lost())
    back = FakeTransport()
    async with session(world, back) as life:
        client.hello(back)
        await client.heard()
        debt_ms = world.service.dispatchers["person"].debt_ms(life._mailbox.flow)
        back.come(lost())
    assert debt_ms == 900.0


async def test_a_bad_first_message_is_in_the_way_of_no_resume(
    world: World, peer: FakeTransport
) -> None:
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        peer.come('{"type":"get_stats","id":1}')
        await client.heard()
        peer.come(lost())
    back = FakeTransport()
    async with session(world, back):
        back.come('{"type":"get_stats","id":"early"}', "nonsense")
        client.hello(back)
        early, nonsense, welcome = await client.heard()
        assert not {"control_seq"} & (early.keys() | nonsense.keys())
        assert (welcome["resumed"], welcome["last_request"]) == (True, 1)
        back.come(lost())
    assert world.count("unhandled_exceptions_total") == 0


async def test_a_claim_that_is_answered_as_the_connection_is_lost_greets_nobody(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        await client.heard()
        peer.come(lost())
    for wait_s in (0.4, 0.5, 0.6):
        world.store.delay_s = 0.5
        back = FakeTransport()
        async with session(world, back):
            client.hello(back)
            await asyncio.sleep(wait_s)
            back.come(lost())
    world.store.delay_s = 0
    assert [r.levelno for r in lines()] == [logging.INFO] * 4
    last = FakeTransport()
    async with session(world, last):
        client.hello(last)
        assert (await client.heard())[0]["resumed"] is True, "it cost nothing"
        last.come(lost())


async def test_a_hello_may_wait_for_the_store_past_the_hello_deadline(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(limits={"hello_timeout_s": 3})
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        await client.heard()
        peer.come(lost())
    back = FakeTransport()
    async with session(world, back):
        await asyncio.sleep(2.9)
        world.store.delay_s = 1
        client.hello(back)
        await asyncio.sleep(1.5)
        assert (await client.heard())[0]["resumed"] is True
        back.come(lost())
