"""The life of a session: every way it can end, and what each costs."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.disconnects import DISCONNECTS, Disconnect, disconnect_seen
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, lost
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World, new_world
from tests.virtual_time import VirtualTimeLoop

Lines = Callable[[], list[logging.LogRecord]]

HELLO = '{"type":"hello"}'


@asynccontextmanager
async def session(
    world: World, peer: FakeTransport, dialect: Dialect = Dialect.V1
) -> AsyncIterator[Session]:
    """A session that runs, and has ended when the block ends."""
    made = Session(world.service, peer, dialect)
    running = asyncio.create_task(made.run())
    try:
        await settle()
        yield made
        await asyncio.wait_for(running, 120)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def said(peer: FakeTransport) -> list[dict[str, Any]]:
    return [json.loads(message) for message in peer.sent if isinstance(message, str)]


def types(peer: FakeTransport) -> list[str]:
    return [message["type"] for message in said(peer)]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The records of sessions that ended."""
    caplog.set_level(logging.DEBUG)

    def ended() -> list[logging.LogRecord]:
        return [record for record in caplog.records if " ended: " in record.getMessage()]

    return ended


def check_end(world: World, lines: Lines, reason: str) -> None:
    """One count, one line at the table's level, the balance, and no task left behind."""
    row = DISCONNECTS[reason]
    assert world.count(
        "ws_disconnects_total", reason=reason, initiator=row.initiator
    ) == 1, reason  # fmt: skip
    assert world.total("ws_disconnects_total") == world.total("ws_connections_total") == 1
    assert world.total("ws_connections_now") == 0
    assert [record.levelno for record in lines()] == [row.level]
    assert reason in lines()[0].getMessage()
    assert asyncio.all_tasks() == {asyncio.current_task()}


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


async def test_a_client_that_does_nothing_is_closed_as_idle(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(limits={"idle_timeout_s": 30})
    async with session(world, peer, Dialect.PLAIN):
        pass
    check_end(world, lines, "idle_timeout")
    assert peer.closed == (4000, "no frame and no command for 30 s")


async def test_a_send_that_is_not_taken_makes_a_slow_consumer(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    peer.stalled = True
    async with session(world, peer, Dialect.PLAIN):
        pass
    check_end(world, lines, "slow_consumer")
    assert peer.sent == []
    assert peer.closed is None, "a stalled peer takes no close frame either"


async def test_results_that_are_never_acknowledged_make_a_slow_consumer(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    async with session(world, peer) as client:
        peer.come(HELLO)
        for seq in range(1, 9):
            peer.come(encode_frame(Frame(seq, 0, 0, b"picture")))
            await settle()
        assert client.stream.window.unacked == 4
        for _ in range(8):
            await asyncio.sleep(5)
            peer.come('{"type":"ping","t":1}')  # alive, but takes no result
    check_end(world, lines, "slow_consumer")
    assert sum(isinstance(message, bytes) for message in peer.sent) == 4


async def test_replies_that_pile_up_make_a_slow_consumer(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(limits={"outbox_messages": 8, "send_timeout_s": 1000})
    async with session(world, peer, Dialect.PLAIN):
        peer.stalled = True
        peer.come(*['{"type":"ping","t":1}'] * 20)
    check_end(world, lines, "slow_consumer")


async def test_too_many_bad_messages_are_a_policy_violation(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(limits={"max_bad_messages": 5})
    async with session(world, peer, Dialect.PLAIN):
        peer.come(*["nonsense"] * 6)
    check_end(world, lines, "policy_violation")
    assert types(peer).count("error") <= 5
    assert peer.closed == (1008, "too many bad messages")


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


async def test_a_full_server_says_so_after_accept(
    make_world: MakeWorld, peer: FakeTransport
) -> None:
    world = make_world(admission={"max_sessions": 1})
    async with session(world, peer):
        late = FakeTransport()
        async with session(world, late):
            pass
        assert late.closed is not None
        assert late.closed[0] == 1013
        peer.come(lost())
    assert world.total("ws_connections_total") == world.total("ws_disconnects_total") == 2


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
    running = asyncio.create_task(Session(world.service, peer, Dialect.V1).run())
    await settle()
    running.cancel()
    peer.come(disconnect_seen(1001, close_frame=True))
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "client_close")


async def test_a_cancellation_without_last_words_is_the_proxys(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    running = asyncio.create_task(Session(world.service, peer, Dialect.V1).run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "proxy_lost")


@pytest.mark.parametrize("turns", range(8))
async def test_a_second_cancellation_takes_no_account_away(
    world: World, peer: FakeTransport, lines: Lines, turns: int
) -> None:
    running = asyncio.create_task(Session(world.service, peer, Dialect.V1).run())
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
    made = Session(world.service, peer, Dialect.V1)
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


async def test_a_peer_that_is_gone_before_accept_is_no_connection(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    peer.dead = True
    await Session(world.service, peer, Dialect.V1).run()
    assert world.total("ws_connections_total") == world.total("ws_disconnects_total") == 0
    assert lines() == []


async def test_sends_that_find_the_peer_gone_wait_for_receive_to_say_why(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    async with session(world, peer, Dialect.PLAIN) as made:
        peer.dead = True
        peer.come('{"type":"ping","t":1}', '{"type":"ping","t":2}')
        await settle()
        assert not made.is_open
        assert lines() == []
        peer.come(lost())
    check_end(world, lines, "connection_lost")
    assert types(peer) == ["connected"]


# ------------------------------------------------------------------ what is said


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


async def test_a_client_that_takes_nothing_slows_no_other(world: World) -> None:
    slow, quick = FakeTransport(), FakeTransport()
    async with session(world, slow), session(world, quick):
        for client in (slow, quick):
            client.come(HELLO)
        await settle()
        slow.stalled = True
        started = asyncio.get_running_loop().time()
        for seq in range(1, 51):
            slow.come(encode_frame(Frame(seq, 0, 0, b"slow")))
            quick.come(encode_frame(Frame(seq, seq - 1, 0, b"quick")))
            await settle()
        answers = [m for m in quick.sent if isinstance(m, bytes)]
        assert [parse_result(m).frame_seq for m in answers] == list(range(1, 51))
        assert asyncio.get_running_loop().time() == started, "nothing waited for the slow one"
        for client in (slow, quick):
            client.come(lost())
    assert world.total("ws_disconnects_total") == 2


@pytest.mark.parametrize("dialect", Dialect)
async def test_a_client_that_sends_and_never_reads_stays_below_the_ceiling(
    make_world: MakeWorld, peer: FakeTransport, dialect: Dialect
) -> None:
    size = 50_000
    limits = {"max_frame_bytes": size, "max_message_bytes": 70_000, "send_timeout_s": 1000}
    world = make_world(limits=limits)
    data = base64.b64encode(bytes(size)).decode()
    async with session(world, peer, dialect) as made:
        peer.come(HELLO)
        await settle()
        peer.stalled = True
        most = 0
        for seq in range(1, 200):
            frame = encode_frame(Frame(seq, 0, 0, bytes(size)))
            peer.come(frame if dialect is Dialect.V1 else f'{{"type":"frame","data":"{data}"}}')
            await settle(5)
            most = max(most, made.stream.size_bytes + made._outbox.size_bytes)
        largest = len(data) + 1024
        assert size < most <= world.service.settings.limits.ceiling_bytes(largest)
        peer.come(lost())
    assert made.stream.size_bytes == 0


BEFORE_HELLO = encode_frame(Frame(1, 0, 0, b"x"))


@pytest.mark.parametrize(
    ("dialect", "before", "message", "code", "words"),
    [
        (Dialect.PLAIN, [], b"binary", "BAD_MESSAGE", "plain dialect"),
        (Dialect.PLAIN, [], "x" * 20_000_000, "BAD_MESSAGE", "at most"),
        (Dialect.PLAIN, [], "[" * 10_000, "BAD_MESSAGE", "recursion"),
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


# ------------------------------------------------------------------ coming back


class Returning:
    """A v1 client that remembers what a resume needs."""

    def __init__(self) -> None:
        self.peer = FakeTransport()
        self.welcome: dict[str, Any] = {}
        self.last_control = self.last_seq = 0

    def hello(self, peer: FakeTransport) -> None:
        self.peer = peer
        resume = {
            "session": self.welcome.get("session"), "token": self.welcome.get("resume_token"),
            "last_seq": self.last_seq, "last_control": self.last_control,
        }  # fmt: skip
        message = {"type": "hello", **({"resume": resume} if self.welcome else {})}
        peer.come(json.dumps(message))

    async def heard(self) -> list[Any]:
        """Everything that came on this connection: JSON, and results."""
        await settle(100)
        heard: list[Any] = []
        for message in self.peer.sent:
            if isinstance(message, bytes):
                result = parse_result(message)
                self.last_seq = result.seq
                heard.append(result)
                continue
            said = json.loads(message)
            heard.append(said)
            self.last_control = said.get("control_seq", self.last_control)
            if said["type"] == "welcome":
                self.welcome = said
        return heard


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


async def test_a_bug_in_the_last_words_does_not_take_the_cancellation(
    world: World, peer: FakeTransport, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(Session(world.service, peer, Dialect.V1).run())
    await settle()
    running.cancel()
    peer.come(ZeroDivisionError("secret"))
    with pytest.raises(asyncio.CancelledError):
        await running
    check_end(world, lines, "server_error")
    assert len([r for r in caplog.records if r.exc_info]) == 1


async def test_a_frame_whose_ack_is_ahead_is_named_in_its_error(
    world: World, peer: FakeTransport
) -> None:
    async with session(world, peer):
        peer.come(HELLO, encode_frame(Frame(5, 9, 0, b"x")))
        await settle()
        assert said(peer)[-1]["frame_seq"] == 5
        peer.come(lost())


async def test_a_session_lets_go_once_and_says_whether_it_was_parked(
    world: World, peer: FakeTransport
) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO)
        await settle()
        assert all(await asyncio.gather(made.let_go(), made.let_go()))
    assert await made.let_go()
    assert (world.store.memory.parked, len(world.service.roll)) == (1, 0)


async def test_a_session_that_ends_already_says_so_to_who_wants_it(
    world: World, peer: FakeTransport
) -> None:
    async with session(world, peer) as made:
        peer.come(HELLO)
        await settle()
        peer.come(disconnect_seen(1000, close_frame=True))
        assert not await made.let_go(), "the client closed it for good"
    assert not world.store.memory.knows(made.id)


# ------------------------------------------------------------------ any order of events

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
        self.session = Session(world.service, self.peer, dialect)
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
                seq = self.session.stream.window.sent_seq
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
    await world.service.close()
    assert world.total("ws_disconnects_total") == world.total("ws_connections_total") <= 3
    assert world.total("ws_connections_now") == 0
    assert world.total("frames_total") == sum(life.session.figures.frames_in for life in lives)
    assert world.total("unhandled_exceptions_total") <= bugs, "the fakes assert, too"
    assert asyncio.all_tasks() == {asyncio.current_task()}
