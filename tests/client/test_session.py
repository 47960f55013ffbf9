"""A stream whose connections are lost: what goes on, what is said again, what ends."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from client import (
    Away,
    Back,
    Closed,
    Dropped,
    Failed,
    NoResult,
    Outcome,
    Refused,
    Result,
    Stream,
    Unreachable,
    session,
)
from client.session import Change
from ingress.wire.pictures import Frame
from ingress.wire.replies import Bye, Error
from ingress.wire.replies import Dropped as DroppedMessage
from ingress.wire.requests import Ack, GetStats, Hello, UpdateViz
from ingress.wire.words import DropCause, ErrorCode
from tests.client.ends import ended, numbered, opened, resumed, returning
from tests.client.fake_server import DEADLINE_S, FakeServer, KeptSession, welcome

pytestmark = pytest.mark.usefixtures("quick_returns")


async def test_a_lost_session_is_asked_for_with_what_was_received(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        await stream.send(b"1")
        await peer.answer(await peer.hear(Frame))
        await anext(stream)
        await peer.say(numbered(Error(code=ErrorCode.OVERLOADED, message="busy"), 1))
        await anext(stream)
        peer.cut()
        peer, hello = await returning(server, resumed(mode="parts", viz={"output": "mask"}))
        assert hello.resume is not None
        assert hello.resume.model_dump() == {
            "session": "s1", "token": "t1", "last_seq": 1, "last_control": 1,
        }  # fmt: skip
        assert (await peer.hear(Ack)).seq == 1  # at once: the new token is confirmed
        assert (stream.mode, stream.viz) == ("parts", {"output": "mask"})
        assert await stream.send(b"2") == 2
        assert (await peer.hear(Frame)).seq == 2


async def test_each_return_shows_the_token_of_the_last_welcome(server: FakeServer) -> None:
    async with opened(server) as (_, peer):
        tokens = []
        for turn in range(2, 5):
            peer.cut()
            peer, hello = await returning(server, resumed(f"t{turn}"))
            assert hello.resume is not None
            tokens.append(hello.resume.token)
            await peer.hear(Ack)
        assert tokens == ["t1", "t2", "t3"]


async def test_a_welcome_that_is_lost_leaves_the_token_of_the_one_before(
    server: FakeServer,
) -> None:
    async with opened(server) as (_, peer):
        peer.cut()
        lost = await server.stranger()
        assert (await lost.hear(Hello)).resume is not None
        lost.cut()
        peer, hello = await returning(server, resumed("t3"))
        assert hello.resume is not None
        assert hello.resume.token == "t1"
        await peer.hear(Ack)


async def test_what_is_known_of_the_absence_is_told(server: FakeServer) -> None:
    changes: list[Change] = []
    async with opened(server, notify=changes.append) as (_, peer):
        peer.cut()
        (await server.stranger()).cut()
        peer, _ = await returning(server, resumed())
        await peer.hear(Ack)
    assert [type(change) for change in changes] == [Away, Away, Back]
    assert isinstance(changes[-1], Back)
    assert changes[-1].resumed


async def test_a_frame_has_ended_when_its_result_is_replayed(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        await stream.send(b"1")
        await stream.send(b"2")
        frames = [await peer.hear(Frame) for _ in range(2)]
        peer.cut()
        peer, _ = await returning(server, resumed())
        await peer.hear(Ack)
        await peer.say(DroppedMessage(frames=(1,), cause=DropCause.DISCONNECTED))
        await peer.send_result(7, frames[1])
        assert (await peer.hear(Ack)).seq == 7
        await stream.send(b"3")
        await peer.send_result(8, await peer.hear(Frame))
        outcomes = [await anext(stream) for _ in range(3)]
        assert outcomes[:2] == [Dropped(1, "closed"), Dropped(2, "closed")]
        assert isinstance(outcomes[2], Result)
        assert (outcomes[2].frame_seq, outcomes[2].seq) == (3, 8)


async def test_segment_is_told_of_the_loss_and_the_next_one_waits(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        first = asyncio.create_task(stream.segment(b"1"))
        await peer.hear(Frame)
        peer.cut()
        with pytest.raises(NoResult, match="frame dropped: closed"):
            await first
        second = asyncio.create_task(stream.segment(b"2"))
        peer, _ = await returning(server, resumed())
        await peer.send_result(1, await peer.hear(Frame), b"mask")
        assert (await second).payload == b"mask"


@pytest.mark.parametrize("seed", range(12))
async def test_cuts_anywhere_lose_repeat_and_reorder_no_reply(
    server: FakeServer, seed: int
) -> None:
    """One caller asks one thing after the other, two more ask and send beside it."""
    dice = random.Random(seed)
    kept = KeptSession(lambda: bool(kept.requests) and dice.random() < 0.08)

    async def serve() -> None:
        while True:
            await kept.serve(await server.stranger())

    async def ask(stream: Stream) -> None:
        for quality in range(1, 25):
            reply = await stream.update_viz({"quality": quality}, timeout_s=DEADLINE_S)
            assert reply.settings == {"quality": quality} == stream.viz

    async def ask_beside(stream: Stream) -> None:
        for _ in range(15):
            await stream.get_stats(timeout_s=DEADLINE_S)

    async def send(stream: Stream) -> None:
        seqs = [await stream.send(b"jpeg") for _ in range(25)]
        assert seqs == list(range(1, 26))
        await stream.settled()

    outcomes: list[Outcome] = []

    async def read(stream: Stream) -> None:
        async for outcome in stream:
            outcomes.append(outcome)  # noqa: PERF401 - what came before the end counts

    async with asyncio.timeout(3 * DEADLINE_S), asyncio.TaskGroup() as serving:
        willing = serving.create_task(serve())
        async with session(server.url) as stream, asyncio.TaskGroup() as using:
            reading = using.create_task(read(stream))
            async with asyncio.TaskGroup() as calling:
                for call in (ask, ask_beside, send):
                    calling.create_task(call(stream))
            reading.cancel()
        willing.cancel()

    ids = [request.id for request in kept.requests]
    assert ids == list(range(1, 40)), "a request was lost, repeated or overtaken"
    qualities = [r.settings["quality"] for r in kept.requests if isinstance(r, UpdateViz)]
    assert qualities == list(range(1, 25))
    assert sorted(set(kept.frames)) == kept.frames
    assert sorted(each.frame_seq or 0 for each in outcomes) == list(range(1, 26))
    assert kept.connections > 3


async def test_requests_of_a_session_that_is_over_fail_and_the_stream_goes_on(
    server: FakeServer,
) -> None:
    async with opened(server) as (stream, peer):
        await stream.send(b"1")
        await peer.send_result(5, await peer.hear(Frame))
        await peer.hear(Ack)
        await anext(stream)
        asking = asyncio.create_task(stream.get_stats())
        await peer.hear(GetStats)
        peer.cut()
        peer, _ = await returning(server, welcome(resume_token="t2"))
        with pytest.raises(Closed, match="1006"):
            await asking
        assert stream.end is None
        assert (await peer.hear(Ack)).seq == 0
        assert await stream.send(b"2") == 2  # frames are never numbered twice
        await peer.send_result(1, await peer.hear(Frame))
        outcome = await anext(stream)
        assert (outcome.frame_seq, isinstance(outcome, Result)) == (2, True)
        assert (await peer.hear(Ack)).seq == 1
        await peer.say(numbered(Error(code=ErrorCode.OVERLOADED, message="first"), 1))
        assert await anext(stream) == Failed(None, ErrorCode.OVERLOADED, "first")


@pytest.mark.parametrize("code", [1008, 4002])
async def test_a_code_that_forbids_it_ends_the_stream(server: FakeServer, code: int) -> None:
    async with opened(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        await peer.hear(GetStats)
        await peer.socket.close(code)
        with pytest.raises(Closed):
            await asking
        assert (await ended(stream)).end.code == code
        with pytest.raises(Closed):
            await stream.send(b"1")


async def test_patience_ends_and_everything_that_waits_is_woken(server: FakeServer) -> None:
    async def turn_away() -> None:
        while True:
            (await server.stranger()).cut()

    away = asyncio.Event()
    options: dict[str, Any] = {"patience_s": 0.1, "notify": lambda change: away.set()}
    async with opened(server, None, **options) as (stream, peer):
        turning_away = asyncio.create_task(turn_away())
        asking = asyncio.create_task(stream.get_stats())
        await peer.hear(GetStats)
        peer.cut()
        await away.wait()
        sending = asyncio.create_task(stream.send(b"1"))
        for waiting in (asking, sending):
            with pytest.raises((Closed, NoResult)):
                await waiting
        assert (await ended(stream)).end.code == 1006
        turning_away.cancel()


@pytest.mark.parametrize(
    ("code", "ends_with"),
    [(ErrorCode.UNAUTHORIZED, 3000), (ErrorCode.BAD_MESSAGE, 1008), (ErrorCode.OVERLOADED, None)],
)
async def test_a_refusal_on_return_ends_it_unless_it_will_pass(
    server: FakeServer, code: ErrorCode, ends_with: int | None
) -> None:
    async with opened(server) as (stream, peer):
        peer.cut()
        await returning(server, Error(code=code, message="no", recoverable=False))
        if ends_with is None:
            peer, hello = await returning(server, resumed())
            assert hello.resume is not None
        else:
            assert (await ended(stream)).end.code == ends_with


async def test_the_first_connection_fails_as_with_connect(server: FakeServer) -> None:
    async def refuse() -> None:
        await returning(server, Error(code=ErrorCode.OVERLOADED, message="full"))

    refusing = asyncio.create_task(refuse())
    with pytest.raises(Refused, match="full"):
        async with session(server.url):
            pass
    await refusing
    with pytest.raises(Unreachable):
        async with session("ws://127.0.0.1:9/ws"):
            pass


async def test_leaving_closes_normally(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        pass
    assert peer.socket.close_code == 1000
    assert stream.end is not None
    assert stream.end.code == 1000
    assert [outcome async for outcome in stream] == []


async def test_leaving_while_away_waits_for_nothing(server: FakeServer) -> None:
    away = asyncio.Event()
    before = asyncio.all_tasks()
    async with opened(server, notify=lambda change: away.set()) as (stream, peer):
        await peer.say(Bye(reason="server_shutdown", retry_ms=(60_000, 60_000), resume=True))
        await peer.socket.close(1012)
        await away.wait()
    assert [outcome async for outcome in stream] == []
    mine = {task for task in asyncio.all_tasks() - before if task.get_name() == "stream"}
    assert not mine


async def test_leaving_during_the_greeting_leaves_no_connection_behind(
    server: FakeServer,
) -> None:
    async with opened(server) as (_, peer):
        peer.cut()
        peer = await server.stranger()
        await peer.hear(Hello)
    await peer.socket.wait_closed()
    assert peer.socket.close_code == 1006


async def test_a_silent_connection_is_cut_because_a_close_would_end_the_session(
    server: FakeServer,
) -> None:
    silent = welcome(resume_token="t1", heartbeat_s=0.05, timeout_s=0.05)
    async with opened(server, silent) as (_, peer):
        after, hello = await returning(server, resumed())
        assert hello.resume is not None
        await peer.socket.wait_closed()
        assert peer.socket.close_code == 1006
        await after.hear(Ack)
