"""What goes to a client that does not take it: it alone is slow, and bounded."""

from __future__ import annotations

import asyncio
import base64
import time

import pytest

from ingress.session.writer import TURN_S
from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.replies import ServerPong
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, lost
from tests.ingress.session.meeting import HELLO, Lines, check_end, session, types
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


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
        assert client._credit.unacked == 4
        for _ in range(8):
            await asyncio.sleep(5)
            peer.come('{"type":"ping","t":1}')  # alive, but takes no result
    check_end(world, lines, "slow_consumer")
    assert sum(isinstance(message, bytes) for message in peer.sent) == 4


async def test_what_has_piled_up_is_sent_in_turns(
    world: World, peer: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(message: str | bytes) -> None:
        peer.sent.append(message)
        until = time.monotonic() + TURN_S / 3
        while time.monotonic() < until:
            pass

    monkeypatch.setattr(peer, "send", at_once)
    async with session(world, peer, Dialect.PLAIN) as made:
        for t in range(100):
            made._outbox.put(ServerPong(t=t))
        while types(peer).count("pong") < 100:
            before = len(peer.sent)
            await asyncio.sleep(0)
            assert len(peer.sent) <= before + 4
        peer.come(lost())


async def test_replies_that_pile_up_make_a_slow_consumer(
    make_world: MakeWorld, peer: FakeTransport, lines: Lines
) -> None:
    world = make_world(limits={"outbox_messages": 8, "send_timeout_s": 1000})
    async with session(world, peer, Dialect.PLAIN):
        peer.stalled = True
        peer.come(*['{"type":"ping","t":1}'] * 20)
    check_end(world, lines, "slow_consumer")


async def test_sends_that_find_the_peer_gone_wait_for_receive_to_say_why(
    world: World, peer: FakeTransport, lines: Lines
) -> None:
    async with session(world, peer, Dialect.PLAIN) as made:
        peer.dead = True
        peer.come('{"type":"ping","t":1}', '{"type":"ping","t":2}')
        await settle()
        assert not made.connection.is_open
        assert lines() == []
        peer.come(lost())
    check_end(world, lines, "connection_lost")
    assert types(peer) == ["connected"]


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
    size = 65_536  # the fake model answers with as much: results as large as they may be
    limits = {"max_frame_bytes": size, "max_message_bytes": 90_000, "send_timeout_s": 1000}
    world = make_world(limits={**limits, "max_result_bytes": size})
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
            most = max(most, made.buffer_bytes - made._ring.size_bytes)
        assert size < most <= world.service.settings.limits.ceiling_bytes
        peer.come(lost())
    assert made._mailbox.size_bytes + made._delivery.size_bytes == 0
