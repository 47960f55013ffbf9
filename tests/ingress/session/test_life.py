"""The life of a session: every way it can end, and what each costs."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ingress.disconnects import Disconnect, disconnect_seen
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, visitor
from tests.ingress.session.meeting import HELLO, Lines, check_end, said, session, types
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


@pytest.mark.parametrize(
    ("code", "close_frame", "reason"),
    [
        (1000, True, "client_close"),
        (1001, True, "client_close"),
        (4444, True, "client_close"),
        (1005, True, "client_close"),
        (1005, False, "connection_lost"),
        (1006, False, "connection_lost"),
        (None, False, "connection_lost"),
        (1002, True, "protocol_error"),
        (1003, True, "protocol_error"),
        (1007, True, "protocol_error"),
        (1009, True, "message_too_big"),
    ],
)
@pytest.mark.parametrize("dialect", Dialect)
async def test_an_end_that_the_peer_made_is_counted_once_and_not_answered(
    world: World,
    peer: FakeTransport,
    lines: Lines,
    dialect: Dialect,
    code: int | None,
    close_frame: bool,
    reason: str,
) -> None:
    async with session(world, peer, dialect):
        peer.come(disconnect_seen(code, close_frame=close_frame))
    check_end(world, lines, reason)
    assert peer.closed is None
    assert "bye" not in types(peer)


async def test_a_proxy_that_dies_is_told_from_a_client_that_leaves(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    async with session(world, peer):
        peer.come(Disconnect("proxy_lost", "ActorDiedError"))
    check_end(world, lines, "proxy_lost")


async def test_no_hello_in_time_closes_with_its_code(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    async with session(world, peer):
        pass
    check_end(world, lines, "hello_timeout")
    assert peer.closed == (4001, "no hello within 10 s")
    assert types(peer) == []


async def test_a_silent_v1_client_is_pinged_and_then_closed(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    started = asyncio.get_running_loop().time()
    async with session(world, peer):
        peer.come(HELLO)
    assert asyncio.get_running_loop().time() - started == pytest.approx(20, abs=1)
    check_end(world, lines, "keepalive_timeout")
    assert types(peer) == ["welcome", "ping", "bye"]
    assert said(peer)[-1] == {
        "type": "bye", "reason": "keepalive_timeout", "retry_ms": [500, 30000], "resume": True,
    }  # fmt: skip
    assert peer.closed is not None
    assert peer.closed[0] == 4201
    assert world.count("ws_keepalive_timeouts_total") == 1


async def test_a_client_that_does_nothing_is_closed_as_idle(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(limits={"idle_timeout_s": 30})
    async with session(world, peer, Dialect.PLAIN):
        pass
    check_end(world, lines, "idle_timeout")
    assert peer.closed == (4000, "no frame and no command for 30 s")


async def test_a_bug_costs_one_traceback_and_an_apology_without_details(
    world: World, peer: FakeTransport, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    async with session(world, peer):
        peer.come(HELLO)
        await settle()
        peer.come(ZeroDivisionError("secret"))
    check_end(world, lines, "server_error")
    assert [r for r in caplog.records if r.exc_info] != []
    assert len([r for r in caplog.records if r.exc_info]) == 1
    assert peer.closed is not None
    assert peer.closed[0] == 1011
    assert "secret" not in str(peer.closed) + str(peer.sent)
    assert world.count("unhandled_exceptions_total") == 1


async def test_a_cancellation_from_outside_is_accounted_with_the_code_that_comes_beside_it(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    running = asyncio.create_task(Session(world.service, peer, visitor(Dialect.V1)).run())
    await settle()
    running.cancel()
    peer.come(disconnect_seen(1001, close_frame=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "client_close")


async def test_a_cancellation_without_last_words_is_the_proxys(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    running = asyncio.create_task(Session(world.service, peer, visitor(Dialect.V1)).run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "proxy_lost")


@pytest.mark.parametrize("turns", range(8))
async def test_a_second_cancellation_takes_no_account_away(
    world: World, peer: FakeTransport, lines: Lines, turns: int
) -> None:
    running = asyncio.create_task(Session(world.service, peer, visitor(Dialect.V1)).run())
    peer.come(HELLO)
    await settle()
    running.cancel()
    await settle(turns)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "proxy_lost")


@pytest.mark.parametrize("wait_s", [1.0, 3.0])  # within the goodbye, within the close
async def test_a_cancellation_during_the_close_takes_no_account_away(
    world: World, peer: FakeTransport, lines: Lines, wait_s: float
) -> None:
    made = Session(world.service, peer, visitor(Dialect.V1))
    running = asyncio.create_task(made.run())
    peer.come(HELLO)
    await settle()
    peer.stalled = True
    made.end(Disconnect("server_shutdown", "the replica stops"))
    await asyncio.sleep(wait_s)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "server_shutdown")


async def test_a_peer_that_is_gone_before_accept_is_no_connection(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    peer.dead = True
    await Session(world.service, peer, visitor(Dialect.V1)).run()
    assert world.total("ws_connections_total") == world.total("ws_disconnects_total") == 0
    assert lines() == []


async def test_a_bug_in_the_last_words_does_not_take_the_cancellation(
    world: World, peer: FakeTransport, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(Session(world.service, peer, visitor(Dialect.V1)).run())
    await settle()
    running.cancel()
    peer.come(ZeroDivisionError("secret"))
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "server_error")
    assert len([r for r in caplog.records if r.exc_info]) == 1


PICTURE_BYTES = 100_000


@pytest.fixture
def unreachable() -> Iterator[list[Any]]:
    """What only the collector would free, once ``gc.collect`` was called; it is off meanwhile."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def frame(dialect: Dialect, seq: int) -> str | bytes:
    picture = bytes(PICTURE_BYTES)
    if dialect is Dialect.V1:
        return encode_frame(Frame(seq, 0, 0, picture))
    return json.dumps({"type": "frame", "data": base64.b64encode(picture).decode()})


@pytest.mark.parametrize("end", ["lost", "by the server", "cancelled"])
@pytest.mark.parametrize("dialect", Dialect)
async def test_pictures_of_a_dead_session_do_not_wait_for_the_collector(
    world: World, peer: FakeTransport, unreachable: list[Any], dialect: Dialect, end: str
) -> None:
    made = Session(world.service, peer, visitor(dialect))
    running = asyncio.create_task(made.run())
    if dialect is Dialect.V1:
        peer.come(HELLO)
    await settle()
    peer.stalled = True
    for seq in range(1, 6):
        peer.come(frame(dialect, seq))
        await settle()
    assert made.buffer_bytes > PICTURE_BYTES
    match end:
        case "lost":
            peer.come(disconnect_seen(1006, close_frame=False))
        case "by the server":
            made.end(Disconnect("server_error", "as the test wants"))
        case "cancelled":
            running.cancel()
    await asyncio.wait([running], timeout=120)
    assert running.done()
    del made, running
    gc.collect()
    assert "Session" in {type(thing).__name__ for thing in unreachable}
    held = [type(at).__name__ for at in unreachable for thing in gc.get_referents(at)
            if isinstance(thing, bytes) and len(thing) >= PICTURE_BYTES]  # fmt: skip
    assert held == []
