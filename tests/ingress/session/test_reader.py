"""What a client says: bad input gets an error, and the reader waits for nobody."""

from __future__ import annotations

import asyncio
import json

import pytest

from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, lost
from tests.ingress.session.meeting import HELLO, Lines, check_end, said, session, types
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


async def test_a_ping_is_answered_while_the_model_hangs(world: World, peer: FakeTransport) -> None:
    world.analyzer.gate = asyncio.Event()
    async with session(world, peer):
        peer.come(HELLO, encode_frame(Frame(1, 0, 0, b"picture")), '{"type":"ping","t":7}')
        await settle()
        assert said(peer)[-1] == {"type": "pong", "t": 7}
        world.analyzer.gate.set()
        await settle()
        answer = peer.sent[-1]
        assert isinstance(answer, bytes)
        assert parse_result(answer).payload == b"picture"
        peer.come(lost())


BEFORE_HELLO = encode_frame(Frame(1, 0, 0, b"x"))


@pytest.mark.parametrize(
    ("dialect", "before", "message", "code", "words"),
    [
        (Dialect.PLAIN, [], b"binary", "BAD_MESSAGE", "plain dialect"),
        (Dialect.PLAIN, [], "x" * 20_000_000, "BAD_MESSAGE", "at most"),
        (Dialect.PLAIN, [], "[" * 10_000, "BAD_MESSAGE", "at most 1024"),
        (Dialect.PLAIN, [], "[" * 1_000, "BAD_MESSAGE", "recursion"),
        (Dialect.PLAIN, [], '{"type":"ping","t":1,"x":"' + "y" * 70_000 + '"}', "BAD_MESSAGE",
         "at most 65536 are taken that are no frame"),
        (Dialect.PLAIN, [], '{"type":"frame","data":""}', "FRAME_REJECTED", "empty"),
        (Dialect.PLAIN, [], '{"type":"hello"}', "BAD_MESSAGE", "unknown type"),
        (Dialect.V1, [], BEFORE_HELLO, "BAD_MESSAGE", "hello"),
        (Dialect.V1, [], '{"type":"get_stats"}', "BAD_MESSAGE", "hello"),
        (Dialect.V1, [HELLO], '{"x":"' + "y" * 70_000 + '"}', "BAD_MESSAGE", "at most 65536"),
        (Dialect.V1, [HELLO], b"short", "BAD_MESSAGE", "header"),
        (Dialect.V1, [HELLO, BEFORE_HELLO], BEFORE_HELLO, "BAD_MESSAGE", "does not follow 1"),
        (Dialect.V1, [HELLO], encode_frame(Frame(1, 9, 0, b"x")), "BAD_MESSAGE", "ahead of"),
        (Dialect.V1, [HELLO], '{"type":"ack","seq":3}', "BAD_MESSAGE", "ahead of"),
        (Dialect.V1, [HELLO], encode_frame(Frame(1, 0, 0, b"")), "FRAME_REJECTED", "empty"),
        (Dialect.V1, [HELLO], encode_frame(Frame(1, 0, 0, bytes(5_000_000))), "FRAME_REJECTED",
         "4194304"),
        (Dialect.V1, [HELLO], '{"type":"frame","data":""}', "BAD_MESSAGE", "unknown type"),
    ],
)  # fmt: skip
async def test_bad_input_gets_an_error_and_the_connection_lives(
    world: World,
    peer: FakeTransport,
    dialect: Dialect,
    before: list[str | bytes],
    message: str | bytes,
    code: str,
    words: str,
) -> None:
    async with session(world, peer, dialect):
        peer.come(*before)
        await settle()
        peer.come(message)
        await settle()
        errors = [m for m in said(peer) if m["type"] == "error"]
        assert [e["code"] for e in errors] == [code]
        assert words in errors[0]["message"]
        assert errors[0]["recoverable"] is True
        peer.come(lost())
    assert world.total("ws_disconnects_total") == 1


async def test_a_frame_whose_ack_is_ahead_is_named_in_its_error(
    world: World, peer: FakeTransport
) -> None:
    async with session(world, peer):
        peer.come(HELLO, encode_frame(Frame(5, 9, 0, b"x")))
        await settle()
        assert said(peer)[-1]["frame_seq"] == 5
        peer.come(lost())


async def test_too_many_bad_messages_are_a_policy_violation(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(limits={"max_bad_messages": 5})
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*["nonsense"] * 6)
    check_end(world, lines, "policy_violation")
    assert types(peer).count("error") <= 5
    assert peer.closed == (1008, "too many bad messages")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type":"update_viz","settings":{"qualty":1}}', "VIZ_UPDATE_FAILED"),
        ('{"type":"update_viz","settings":{"class_filter":[9]}}', "VIZ_UPDATE_FAILED"),
        ('{"type":"change_mode","model_mode":"persom"}', "INVALID_MODE"),
    ],
)
@pytest.mark.parametrize("dialect", list(Dialect))
async def test_who_repeats_refused_settings_is_let_go(
    make_world: MakeWorld, peer: FakeTransport, dialect: Dialect, message: str, code: str
) -> None:
    world = make_world(limits={"max_bad_messages": 5})
    async with session(world, peer, dialect):
        peer.come(*([HELLO] if dialect is Dialect.V1 else []), *[message] * 6)
    assert [m["code"] for m in said(peer) if m["type"] == "error"] == [code] * 5
    assert peer.closed == (1008, "too many bad messages")


async def test_a_burst_is_read_one_message_a_turn(world: World, peer: FakeTransport) -> None:
    async with session(world, peer, Dialect.PLAIN):
        await settle()
        peer.come(*['{"type":"ping","t":1}'] * 100)
        turns = 0
        while peer._coming.qsize():
            before = peer._coming.qsize()
            await asyncio.sleep(0)
            turns += 1
            assert before - peer._coming.qsize() <= 1
        assert turns >= 100
        await settle()
        assert types(peer).count("pong") == 100
        peer.come(lost())


async def test_control_messages_past_the_burst_are_read_at_their_rate(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(limits={"control_per_s": 10, "control_burst": 5})
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*['{"type":"ping","t":1}'] * 100)
        await asyncio.sleep(1.05)
        assert 15 <= types(peer).count("pong") <= 17
        await asyncio.sleep(10)
        assert types(peer).count("pong") == 100
        peer.come(lost())


async def test_bad_messages_over_a_long_time_are_forgiven(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(limits={"max_bad_messages": 5})
    async with session(world, peer, Dialect.PLAIN):
        for _ in range(20):
            peer.come("nonsense")
            await asyncio.sleep(13)
        assert peer.closed is None
        peer.come(lost())
    assert types(peer).count("error") == 20


async def test_a_pong_is_life_and_measures_the_heartbeat(world: World, peer: FakeTransport) -> None:
    async with session(world, peer):
        peer.come(HELLO)
        for _ in range(6):
            await asyncio.sleep(10.5)
            assert said(peer)[-1]["type"] == "ping"
            peer.come(json.dumps({"type": "pong", "t": said(peer)[-1]["t"]}))
            peer.come(json.dumps({"type": "pong", "t": 1}))  # life, but of no ping
            await settle()
            assert peer.closed is None
        peer.come(lost())
    assert world.count("ws_heartbeat_rtt_seconds_count") == 6
