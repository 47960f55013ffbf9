"""A client is let go: what it owes and is owed is settled, and kept for its return."""

from __future__ import annotations

import asyncio
import json

import pytest

from ingress.disconnects import Disconnect, disconnect_seen
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, lost, visitor
from tests.ingress.session.meeting import HELLO, Lines, Returning, check_end, said, session, types
from tests.ingress.turns import settle
from tests.ingress.world import World


async def test_frames_and_requests_that_a_loss_cut_short_are_told_of(
    world: World, peer: FakeTransport
) -> None:
    world.analyzer.gate = asyncio.Event()
    world.analyst.delay_s = 100
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        await client.heard()
        peer.come(*[encode_frame(Frame(seq, 0, 0, b"x")) for seq in (1, 2)])
        peer.come('{"type":"get_stats","id":"cut"}')
        await settle()
        peer.come(lost())
    for _ in range(2):  # the first one's connection is lost before the client has read it
        back = FakeTransport()
        async with session(world, back):
            client.hello(back)
            await settle(100)
            back.come(lost())
        _, error, dropped = map(json.loads, map(str, back.sent))
        assert (error["code"], error["reply_to"]) == ("STATS_FAILED", "cut")
        assert (dropped["frames"], dropped["cause"]) == ([1, 2], "disconnected")
        assert (error["control_seq"], dropped["control_seq"]) == (1, 2)


async def test_a_newer_connection_takes_the_session_and_the_older_closes_as_replaced(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    client = Returning()
    back = FakeTransport()
    async with session(world, back):
        async with session(world, peer):
            client.hello(peer)
            await client.heard()
            client.hello(back)
        assert (await client.heard())[0]["resumed"] is True
        assert peer.closed is not None
        assert peer.closed[0] == 4002
        assert said(peer)[-1]["resume"] is False
        back.come(lost())
    assert [record.reason for record in lines()] == ["replaced", "connection_lost"]  # type: ignore[attr-defined]


async def test_a_request_that_met_a_bug_has_its_reply_after_the_resume(
    world: World, peer: FakeTransport
) -> None:
    world.analyst.failure = ZeroDivisionError("secret")
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        await client.heard()
        peer.come('{"type":"get_stats","id":1}')
    assert peer.closed is not None
    assert peer.closed[0] == 1011
    back = FakeTransport()
    async with session(world, back):
        client.hello(back)
        welcome, error = await client.heard()
        assert (welcome["last_request"], error["reply_to"]) == (1, 1)
        assert "secret" not in error["message"]
        back.come(lost())


async def test_a_session_lets_go_once_and_says_whether_it_was_parked(
    world: World, peer: FakeTransport
) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO)
        await settle()
        assert all(await asyncio.gather(made.let_go(), made.let_go()))
    assert await made.let_go()
    assert (world.store.memory.parked, len(world.service.roll)) == (1, 0)


@pytest.mark.parametrize(
    ("said_before", "unused"),
    [
        ([], True),
        (['{"type":"ping","t":1}', '{"type":"ack","seq":0}'], True),
        ([encode_frame(Frame(1, 0, 0, b"x"))], False),
        (['{"type":"update_viz","settings":{"quality":9}}'], False),
        (['{"type":"get_stats","id":1}'], False),
        (["no JSON"], False),
    ],
)
async def test_a_session_in_which_nothing_was_said_is_kept_as_unused(
    world: World, peer: FakeTransport, said_before: list[str | bytes], unused: bool
) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO, *said_before)
        await settle(50)
        peer.come(lost())
    parked = world.store.memory._parked[made.id].parked
    assert parked is not None
    assert parked.unused is unused


async def test_a_session_that_began_with_settings_of_another_is_not_unused(
    world: World, peer: FakeTransport
) -> None:
    client = Returning()
    async with session(world, peer):
        client.hello(peer)
        await client.heard()
        peer.come('{"type":"update_viz","settings":{"quality":9}}')
        await settle()
        peer.come(lost())
    client.last_control = 9  # ahead of what was sent: a new session, with the settings
    back = FakeTransport()
    async with session(world, back) as made:
        client.hello(back)
        welcome, *_ = await client.heard()
        assert (welcome["resumed"], welcome["viz"]["quality"]) == (False, 9)
        back.come(lost())
    parked = world.store.memory._parked[made.id].parked
    assert parked is not None
    assert not parked.unused


async def test_a_session_that_ends_already_says_so_to_who_wants_it(
    world: World, peer: FakeTransport
) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO)
        await settle()
        peer.come(disconnect_seen(1000, close_frame=True))
        assert not await made.let_go(), "the client closed it for good"
    assert not world.store.memory.knows(made.id)


async def test_an_end_asked_for_from_outside_closes_with_its_code(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO)
        await settle()
        made.end(Disconnect("server_shutdown", "the replica stops"))
        made.end(Disconnect("server_error", "too late to count"))
    check_end(world, lines, "server_shutdown")
    assert peer.closed == (1012, "the replica stops")
    assert types(peer)[-1] == "bye"


@pytest.mark.parametrize("draining", [True, False])
async def test_a_restart_that_uvicorn_announced_is_not_the_clients_close(
    world: World, peer: FakeTransport, lines: Lines, draining: bool
) -> None:
    async with session(world, peer):
        peer.come(HELLO)
        await settle()
        if draining:
            running = asyncio.create_task(world.service.drainage.run())
            await settle()
        peer.come(disconnect_seen(1012, close_frame=True))
    if draining:
        await running
    check_end(world, lines, "server_shutdown" if draining else "client_close")
    assert world.store.memory.parked == draining


async def test_a_bye_that_the_writer_did_not_come_to_is_said_before_the_close(
    world: World, peer: FakeTransport
) -> None:
    made = Session(world.service, peer, visitor(Dialect.V1))
    await made.connection.accept(None)
    assert made.connection.hello()
    made.connection.greet()
    made.announce()  # and no writer runs
    await made._farewell.part(Disconnect("server_shutdown"))
    assert types(peer) == ["bye"]
    assert peer.closed is not None
    assert peer.closed[0] == 1012


async def test_a_bye_that_was_said_is_not_said_again(world: World, peer: FakeTransport) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO)
        await settle()
        made.announce()
        await settle()
        made.end(Disconnect("server_shutdown"))
    assert types(peer) == ["welcome", "bye"]
