"""What a client says: bad input gets an error, and the reader waits for nobody."""

from __future__ import annotations

import asyncio
import base64
import itertools
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
    codes = [m["code"] for m in said(peer) if m["type"] == "error"]
    # On a busy machine the writer gives a turn away, and the end comes before the last of them.
    assert codes in ([code] * 4, [code] * 5)
    assert peer.closed == (1008, "too many bad messages")


async def test_a_burst_is_read_one_message_a_turn(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(limits={"control_burst": 100})
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


async def test_a_flood_is_read_in_gulps(make_world: MakeWorld, peer: FakeTransport) -> None:
    world = make_world(limits={"control_per_s": 10, "control_burst": 50})
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*['{"type":"ping","t":1}'] * 100)
        await settle()
        read = [types(peer).count("pong")]
        for _ in range(20):
            await asyncio.sleep(0.1)
            read.append(types(peer).count("pong"))
        peer.come(lost())
    gulps = [later - before for before, later in itertools.pairwise(read) if later > before]
    assert sum(gulps) in range(15, 26)
    assert len(gulps) <= 5, "when five may be read, not twenty times one"


async def test_what_others_are_asked_for_counts_as_ten(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(limits={"control_per_s": 10, "control_burst": 20})
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*['{"type":"get_stats"}'] * 10)
        await asyncio.sleep(0.5)
        assert types(peer).count("stats") == 3, "two from the burst, and the one that makes a debt"
        await asyncio.sleep(2)
        assert types(peer).count("stats") == 5
        peer.come(lost())


async def test_long_messages_count_as_several_and_none_silences_its_sender_for_long(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(limits={"control_per_s": 10, "control_burst": 20})
    async with session(world, peer, Dialect.PLAIN):
        peer.come("x" * 4_000_000, "nonsense", *["y" * 9_000] * 3)
        await settle()
        assert types(peer) == ["connected", *["error"] * 2], "the first took what there was, 20"
        await asyncio.sleep(0.35)  # the debt of "nonsense" is paid, and two more may be read
        assert len(said(peer)) == 4
        await asyncio.sleep(0.3)  # and that of a text of 9,000, which counts as three
        assert len(said(peer)) == 5
        peer.come(lost())


@pytest.mark.parametrize("message", ['{"type":"ping","t":1}', "nonsense"])
async def test_who_floods_for_long_is_let_go(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines, message: str
) -> None:
    limits = {"control_per_s": 10, "control_burst": 5, "control_patience_s": 3}
    world = make_world(limits={**limits, "max_bad_messages": 10_000})
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*[message] * 1000)
        await asyncio.sleep(2.9)
        assert peer.closed is None
    assert peer.closed == (1008, "more than 10 messages a second for 3 s")
    check_end(world, lines, "policy_violation")


async def test_who_floods_now_and_then_stays(make_world: MakeWorld, peer: FakeTransport) -> None:
    limits = {"control_per_s": 10, "control_burst": 5, "control_patience_s": 3}
    world = make_world(limits=limits)
    async with session(world, peer, Dialect.PLAIN):
        for _ in range(10):
            peer.come(*['{"type":"ping","t":1}'] * 20)
            await asyncio.sleep(2.5)
        assert types(peer).count("pong") == 200
        peer.come(lost())


RATES = {"max_in_flight": 64, "plain_in_flight": 64, "rate_burst_s": 1.0}


@pytest.mark.parametrize(
    "rate", [{"frames_per_s": 10}, {"pixels_per_s": 100}, {"bytes_per_s": 1024}], ids=repr
)
@pytest.mark.parametrize("dialect", Dialect)
async def test_frames_past_a_rate_are_dropped_told_and_counted(
    make_world: MakeWorld, peer: FakeTransport, dialect: Dialect, rate: dict[str, float]
) -> None:
    world = make_world(limits={**RATES, **rate})
    size = 100 if "bytes_per_s" in rate else 10  # here a picture has its bytes as pixels
    async with session(world, peer, dialect):
        peer.come(*([HELLO] if dialect is Dialect.V1 else []))
        for seq in range(1, 31):
            peer.come(one_frame(dialect, seq, bytes(size)))
        await settle(200)
        assert world.count("frames_dropped_total", cause="rate_limited") == 19
        told = [m for m in said(peer) if m["type"] in ("dropped", "error")]
        if dialect is Dialect.V1:
            dropped = [m for m in told if m["cause"] == "rate_limited"]
            assert sorted(s for m in dropped for s in m["frames"]) == list(
                range(12, 31)
            )  # the eleventh leaves a debt
        else:
            assert {m["code"] for m in told} == {"FRAME_DROPPED"}
            assert sum("a second" in m["message"] for m in told) == 19
        await asyncio.sleep(1)
        peer.come(one_frame(dialect, 31, bytes(size)))
        await settle(200)
        assert world.count("frames_dropped_total", cause="rate_limited") == 19
        peer.come(lost())


async def test_who_streams_far_past_the_rate_is_read_later_and_let_go(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    limits = {"frames_per_s": 10, "control_per_s": 10, "control_burst": 5, "control_patience_s": 3}
    world = make_world(limits=limits)
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*[one_frame(Dialect.PLAIN, 1, b"x")] * 10_000)
        await asyncio.sleep(2)
        assert world.count("ws_messages_total", direction="in", type="frame") < 100
    check_end(world, lines, "policy_violation")


async def test_sixty_frames_a_second_of_1080p_are_within_the_rates(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world()
    object.__setattr__(world.service, "pixels_of", lambda _: 1920 * 1080)
    async with session(world, peer):
        peer.come(HELLO)
        for seq in range(1, 1201):
            peer.come(encode_frame(Frame(seq, 0, 0, bytes(1_000_000))))
            if seq % 30 == 0:  # as a network delivers that stood still for half a second
                await asyncio.sleep(0.5)
        assert world.count("frames_dropped_total", cause="rate_limited") == 0
        peer.come(lost())


def one_frame(dialect: Dialect, seq: int, image: bytes) -> str | bytes:
    if dialect is Dialect.V1:
        return encode_frame(Frame(seq, 0, 0, image))
    return json.dumps({"type": "frame", "data": base64.b64encode(image).decode()})


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
