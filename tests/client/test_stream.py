"""A session of the Python client against a server that tests its promises."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from client import Closed, Dropped, Failed, NoReply, NoResult, Outcome, Refused, Stream, connect
from ingress.disconnects import Advice
from ingress.wire.pictures import Frame, Result
from ingress.wire.replies import (
    Bye,
    Error,
    ModeChanged,
    ServerPing,
    ServerPong,
    VizUpdated,
    Welcome,
)
from ingress.wire.replies import Dropped as DroppedMessage
from ingress.wire.requests import (
    Ack,
    ChangeMode,
    ClientMessage,
    GetStats,
    Ping,
    Pong,
    SubscribeStats,
    UpdateViz,
)
from ingress.wire.words import DropCause, ErrorCode
from tests.client.fake_server import STATS, FakeServer, Peer, welcome


@asynccontextmanager
async def session(
    server: FakeServer, greeting: Welcome | None = None
) -> AsyncIterator[tuple[Stream, Peer]]:
    """Both ends of a session."""
    accepting = asyncio.create_task(server.peer(greeting))
    async with connect(server.url) as stream:
        yield stream, await accepting


async def rest(stream: Stream) -> list[Outcome]:
    """The outcomes until the other side closes."""
    outcomes: list[Outcome] = []

    async def read() -> None:
        async for outcome in stream:
            outcomes.append(outcome)  # noqa: PERF401 - what came before the end counts

    with pytest.raises(Closed):
        await read()
    return outcomes


async def gone(stream: Stream) -> Closed:
    """How the connection ended."""
    with pytest.raises(Closed) as caught:
        await anext(stream)
    return caught.value


# ------------------------------------------------------------------ frames


async def test_a_frame_is_answered_by_its_result(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        seq = await stream.send(b"jpeg")
        frame = await peer.hear(Frame)
        assert (frame.seq, frame.image, frame.ack) == (seq, b"jpeg", 0)
        await peer.answer(frame, b"mask")
        result = await anext(stream)
        assert isinstance(result, Result)
        assert (result.frame_seq, result.payload) == (seq, b"mask")
        assert result.captured_us == frame.captured_us


async def test_every_frame_ends_in_exactly_one_outcome(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        seqs = [await stream.send(b"jpeg") for _ in range(4)]
        frames = [await peer.hear(Frame) for _ in seqs]
        await peer.say(DroppedMessage(frames=(seqs[1],), cause=DropCause.SUPERSEDED))
        await peer.answer(frames[0])
        refusal = Error(code=ErrorCode.FRAME_REJECTED, message="not a picture", frame_seq=seqs[2])
        await peer.say(refusal)
        await peer.answer(frames[1])  # too late: it was dropped
        await peer.socket.close(1012)
        outcomes = await rest(stream)
    assert [outcome.frame_seq for outcome in outcomes] == [seqs[1], seqs[0], seqs[2], seqs[3]]
    assert outcomes[0] == Dropped(seqs[1], DropCause.SUPERSEDED)
    assert isinstance(outcomes[1], Result)
    assert outcomes[2] == Failed(seqs[2], ErrorCode.FRAME_REJECTED, "not a picture")
    assert outcomes[3] == Dropped(seqs[3], "closed")


async def test_send_waits_until_an_outcome_was_read(server: FakeServer) -> None:
    async with session(server, welcome(max_in_flight=1)) as (stream, peer):
        await stream.send(b"1")
        sending = asyncio.create_task(stream.send(b"2"))
        await peer.answer(await peer.hear(Frame))
        await peer.hear(Ack)
        assert not sending.done()
        await anext(stream)
        assert await sending == 2
        assert (await peer.hear(Frame)).image == b"2"


async def test_the_next_frame_carries_the_acknowledgement(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        await stream.send(b"1")
        seq = await peer.answer(await peer.hear(Frame))
        await anext(stream)
        await stream.send(b"2")
        assert (await peer.hear(Frame)).ack == seq
        await stream.send(b"3")
        assert (await peer.hear(Frame)).ack == seq  # and no ack came in between


async def test_an_acknowledgement_goes_alone_when_no_frame_carries_it(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        await stream.send(b"1")
        seq = await peer.answer(await peer.hear(Frame))
        assert (await peer.hear(Ack)).seq == seq


async def test_one_acknowledgement_covers_several_results(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        for _ in range(3):
            await stream.send(b"1")
        for frame in [await peer.hear(Frame) for _ in range(3)]:
            newest = await peer.answer(frame)
        acks = [await peer.hear(Ack)]
        while acks[-1].seq < newest:
            acks.append(await peer.hear(Ack))
        assert len(acks) <= 2


async def test_segment_gives_the_result_and_hides_it_from_the_iteration(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        segmenting = asyncio.create_task(stream.segment(b"one"))
        frame = await peer.hear(Frame)
        await stream.send(b"two")
        other = await peer.hear(Frame)
        await peer.answer(other, b"second")
        await peer.answer(frame, b"first")
        assert (await segmenting).payload == b"first"
        outcome = await anext(stream)
        assert outcome.frame_seq == other.seq


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (DroppedMessage(frames=(1,), cause=DropCause.STALE), "frame dropped: stale"),
        (Error(code=ErrorCode.INFERENCE_FAILED, message="sorry", frame_seq=1), "sorry"),
    ],
)
async def test_segment_without_a_result_says_why(
    server: FakeServer, answer: DroppedMessage | Error, words: str
) -> None:
    async with session(server) as (stream, peer):
        segmenting = asyncio.create_task(stream.segment(b"one"))
        await peer.hear(Frame)
        await peer.say(answer)
        with pytest.raises(NoResult, match=words):
            await segmenting


async def test_a_segment_given_up_leaves_the_books_in_order(server: FakeServer) -> None:
    async with session(server, welcome(max_in_flight=1)) as (stream, peer):
        segmenting = asyncio.create_task(stream.segment(b"one"))
        frame = await peer.hear(Frame)
        segmenting.cancel()
        await peer.answer(frame)
        assert await stream.send(b"two") == 2


async def test_an_error_about_no_frame_comes_with_the_outcomes(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        await peer.say(Error(code=ErrorCode.RATE_LIMITED, message="slower"))
        assert await anext(stream) == Failed(None, ErrorCode.RATE_LIMITED, "slower")


async def test_settled_waits_for_the_last_outcome_to_be_read(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        await stream.settled()
        await stream.send(b"1")
        waiting = asyncio.create_task(stream.settled())
        await peer.answer(await peer.hear(Frame))
        await peer.hear(Ack)
        assert not waiting.done()
        await anext(stream)
        await waiting


# ------------------------------------------------------------------ requests


async def test_replies_find_their_requests_in_any_order(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        changing = asyncio.create_task(stream.change_mode("parts"))
        first = await peer.hear(ChangeMode)
        updating = asyncio.create_task(stream.update_viz({"quality": 50}))
        second = await peer.hear(UpdateViz)
        assert first.model_mode == "parts"
        assert second.settings == {"quality": 50}
        await peer.say(VizUpdated(reply_to=second.id, settings={"quality": 50}))
        await peer.say(
            ModeChanged(reply_to=first.id, model_mode="parts", class_labels=("background",))
        )
        assert (await updating).settings == {"quality": 50}
        assert (await changing).class_labels == ("background",)
        assert (stream.mode, stream.viz) == ("parts", {"quality": 50})


async def test_a_refused_request_raises_with_the_servers_words(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        changing = asyncio.create_task(stream.change_mode("parts"))
        request = await peer.hear(ChangeMode)
        await peer.say(Error(reply_to=request.id, code=ErrorCode.INVALID_MODE, message="no mode"))
        with pytest.raises(Refused, match="no mode") as caught:
            await changing
        assert caught.value.code is ErrorCode.INVALID_MODE


async def test_a_reply_of_another_kind_is_a_refusal(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        request = await peer.hear(GetStats)
        await peer.say(VizUpdated(reply_to=request.id, settings={}))
        with pytest.raises(Refused, match="another message"):
            await asking


async def test_a_request_without_a_reply_ends_at_its_deadline(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        with pytest.raises(NoReply, match=r"did not answer get_stats within 0\.01 s"):
            await stream.get_stats(timeout_s=0.01)
        late = await peer.hear(GetStats)
        await peer.say(STATS.model_copy(update={"reply_to": late.id}))
        await peer.say(Error(code=ErrorCode.OVERLOADED, message="still here"))
        assert await anext(stream) == Failed(None, ErrorCode.OVERLOADED, "still here")


async def test_statistics_come_on_request_and_by_subscription(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        request = await peer.hear(GetStats)
        await peer.say(STATS.model_copy(update={"reply_to": request.id}))
        assert (await asking).avg_fps == STATS.avg_fps
        subscribing = asyncio.create_task(stream.subscribe_stats(0.5))
        subscription = await peer.hear(SubscribeStats)
        assert subscription.interval_s == 0.5
        await peer.say(STATS.model_copy(update={"reply_to": subscription.id}))
        assert (await subscribing).avg_fps == STATS.avg_fps
        await peer.say(STATS.model_copy(update={"avg_fps": 12.0}))
        await peer.say(Error(code=ErrorCode.OVERLOADED, message="after"))
        await anext(stream)
        assert stream.stats is not None
        assert stream.stats.avg_fps == 12.0


# ------------------------------------------------------------------ liveness


async def test_a_ping_is_answered_with_its_own_number(server: FakeServer) -> None:
    async with session(server) as (_, peer):
        await peer.say(ServerPing(t=41.5))
        assert (await peer.hear(Pong)).t == 41.5


async def test_the_client_pings_every_heartbeat(server: FakeServer) -> None:
    async with session(server, welcome(heartbeat_s=0.01)) as (_, peer):
        first, second = await peer.hear(Ping), await peer.hear(Ping)
        assert second.t > first.t


async def test_a_server_that_falls_silent_is_given_up(server: FakeServer) -> None:
    silent = welcome(heartbeat_s=0.05, timeout_s=0.05)
    async with session(server, silent) as (stream, _):
        closed = await gone(stream)
    assert closed.end.code == 4201
    assert "nothing heard for 0.1 s" in str(closed)
    assert closed.end.advice is Advice.AT_ONCE


async def test_any_message_counts_as_life(server: FakeServer) -> None:
    lively = welcome(heartbeat_s=0.02, timeout_s=1.0)
    async with session(server, lively) as (stream, peer):
        first = t = (await peer.hear(Ping)).t
        while t < first + 1_200_000:  # microseconds: longer than the silence allowed
            await peer.say(ServerPong(t=t))
            t = (await peer.hear(Ping)).t
        assert stream.end is None


# ------------------------------------------------------------------ the end


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (1000, "", Advice.CLIENTS_CHOICE),
        (1011, "server_error", Advice.BACK_OFF),
        (1012, "server_shutdown", Advice.IN_WINDOW),
        (1013, "overloaded", Advice.BACK_OFF),
        (3000, "auth_rejected", Advice.NEVER),
        (4000, "idle_timeout", Advice.ON_USER_ACTION),
        (4002, "replaced", Advice.NEVER),
        (4050, "some new reason", Advice.NEVER),
        (4101, "slow_consumer", Advice.BACK_OFF),
        (4150, "some new reason", Advice.BACK_OFF),
        (4202, "auth_expired", Advice.WITH_NEW_TOKEN),
        (4250, "some new reason", Advice.AT_ONCE),
    ],
)
async def test_the_close_code_says_what_to_do(
    server: FakeServer, code: int, reason: str, advice: Advice
) -> None:
    async with session(server) as (stream, peer):
        await peer.socket.close(code, reason)
        closed = await gone(stream)
    assert (closed.end.code, closed.end.reason, closed.end.advice) == (code, reason, advice)
    assert stream.end == closed.end


async def test_a_lost_connection_is_1006(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        peer.socket.transport.abort()
        closed = await gone(stream)
    assert closed.end.code == 1006
    assert closed.end.advice is Advice.JITTERED


async def test_bye_gives_the_window_for_a_reconnect(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        await peer.say(Bye(reason="server_shutdown", retry_ms=(100, 900), resume=True))
        await peer.socket.close(1012, "server_shutdown")
        assert (await gone(stream)).end.retry_ms == (100, 900)


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        '{"kind":"news"}',
        '{"type":"dropped"}',
        b"\x01",
        struct.pack("<BBHIIIQ", 1, 2, 0, 1, 1, 9, 0),
    ],
)
async def test_a_server_that_cannot_be_understood_is_left(
    server: FakeServer, nonsense: str | bytes
) -> None:
    async with session(server) as (stream, peer):
        await peer.socket.send(nonsense)
        closed = await gone(stream)
        await peer.socket.wait_closed()
    assert closed.end.code == 1002
    assert peer.socket.close_code == 1002


async def test_a_message_that_only_newer_servers_send_is_ignored(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        await peer.socket.send('{"type":"news","control_seq":1,"about":{}}')
        await peer.say(Error(control_seq=2, code=ErrorCode.OVERLOADED, message="after it"))
        assert await anext(stream) == Failed(None, ErrorCode.OVERLOADED, "after it")


@pytest.mark.parametrize("numbers", [(2,), (1, 3)])
async def test_a_gap_among_control_messages_ends_the_connection(
    server: FakeServer, numbers: tuple[int, ...]
) -> None:
    async with session(server) as (stream, peer):
        for number in numbers:
            await peer.say(STATS.model_copy(update={"control_seq": number}))
        closed = await gone(stream)
    assert closed.end.code == 1002
    assert f"control_seq {numbers[-1]}" in closed.end.reason


async def test_a_control_message_that_was_seen_is_ignored(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        for number, words in ((1, "one"), (1, "one again"), (2, "two"), (1, "one"), (3, "three")):
            await peer.say(Error(control_seq=number, code=ErrorCode.OVERLOADED, message=words))
        seen = [await anext(stream) for _ in range(3)]
    assert [each.message for each in seen if isinstance(each, Failed)] == ["one", "two", "three"]


CALLS: list[
    tuple[str, Callable[[Stream], Awaitable[object]], type[ClientMessage] | type[Frame]]
] = [
    ("segment", lambda stream: stream.segment(b"one"), Frame),
    ("change_mode", lambda stream: stream.change_mode("parts"), ChangeMode),
    ("get_stats", lambda stream: stream.get_stats(), GetStats),
]


@pytest.mark.parametrize(("name", "call", "heard"), CALLS, ids=[name for name, _, _ in CALLS])
async def test_whoever_waits_is_woken_when_the_connection_ends(
    server: FakeServer,
    name: str,
    call: Callable[[Stream], Awaitable[object]],
    heard: type[ClientMessage] | type[Frame],
) -> None:
    async with session(server) as (stream, peer):
        waiting = asyncio.ensure_future(call(stream))
        assert isinstance(await peer.next(), heard)
        await peer.socket.close(1012)
        with pytest.raises((Closed, NoResult)):
            await waiting
        with pytest.raises(Closed):
            await call(stream)


async def test_a_send_that_waits_for_room_is_woken_by_the_end(server: FakeServer) -> None:
    async with session(server, welcome(max_in_flight=1)) as (stream, peer):
        await stream.send(b"1")
        sending = asyncio.create_task(stream.send(b"2"))
        await peer.hear(Frame)
        await peer.socket.close(1012)
        with pytest.raises(Closed):
            await sending


async def test_leaving_closes_normally_and_ends_the_iteration(server: FakeServer) -> None:
    async with session(server) as (stream, peer):
        seq = await stream.send(b"1")
        await peer.hear(Frame)
    assert peer.socket.close_code == 1000
    assert [outcome async for outcome in stream] == [Dropped(seq, "closed")]


async def test_leaving_a_server_that_reads_nothing_has_a_deadline(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.link._CLOSE_TIMEOUT_S", 0.05)
    async with session(server) as (stream, peer):
        peer.socket.transport.pause_reading()
    assert stream.end is not None
    assert peer.socket.close_code is None  # it never took part
    peer.socket.transport.abort()


async def test_no_task_outlives_the_session(server: FakeServer) -> None:
    before = asyncio.all_tasks()
    async with session(server) as (stream, _):
        await stream.send(b"1")
    mine = {task for task in asyncio.all_tasks() - before if task.get_name() == "stream"}
    assert not mine


async def test_an_error_in_the_callers_block_comes_out_as_it_is(server: FakeServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session(server):
            raise ZeroDivisionError
