"""A stream over one connection, against a server that tests its promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from client import Closed, Dropped, Failed, NoResult, Outcome, Stream
from ingress.wire.pictures import Frame, Result
from ingress.wire.replies import Dropped as DroppedMessage
from ingress.wire.replies import Error
from ingress.wire.requests import Ack, ChangeMode, ClientMessage, GetStats
from ingress.wire.words import DropCause, ErrorCode
from tests.client.ends import connected
from tests.client.fake_server import FakeServer, welcome


async def rest(stream: Stream) -> list[Outcome]:
    """The outcomes until the other side closes."""
    outcomes: list[Outcome] = []

    async def read() -> None:
        async for outcome in stream:
            outcomes.append(outcome)  # noqa: PERF401 - what came before the end counts

    with pytest.raises(Closed):
        await read()
    return outcomes


async def test_a_frame_is_answered_by_its_result(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        seq = await stream.send(b"jpeg")
        frame = await peer.hear(Frame)
        assert (frame.seq, frame.image, frame.ack) == (seq, b"jpeg", 0)
        await peer.answer(frame, b"mask")
        result = await anext(stream)
        assert isinstance(result, Result)
        assert (result.frame_seq, result.payload) == (seq, b"mask")
        assert result.captured_us == frame.captured_us


async def test_every_frame_ends_in_exactly_one_outcome(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
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
    async with connected(server, welcome(max_in_flight=1)) as (stream, peer):
        await stream.send(b"1")
        sending = asyncio.create_task(stream.send(b"2"))
        await peer.answer(await peer.hear(Frame))
        await peer.hear(Ack)
        assert not sending.done()
        await anext(stream)
        assert await sending == 2
        assert (await peer.hear(Frame)).image == b"2"


async def test_segment_gives_the_result_and_hides_it_from_the_iteration(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
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
    async with connected(server) as (stream, peer):
        segmenting = asyncio.create_task(stream.segment(b"one"))
        await peer.hear(Frame)
        await peer.say(answer)
        with pytest.raises(NoResult, match=words):
            await segmenting


async def test_a_segment_given_up_leaves_the_books_in_order(server: FakeServer) -> None:
    async with connected(server, welcome(max_in_flight=1)) as (stream, peer):
        segmenting = asyncio.create_task(stream.segment(b"one"))
        frame = await peer.hear(Frame)
        segmenting.cancel()
        await peer.answer(frame)
        assert await stream.send(b"two") == 2


async def test_an_error_about_no_frame_comes_with_the_outcomes(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        await peer.say(Error(code=ErrorCode.RATE_LIMITED, message="slower"))
        assert await anext(stream) == Failed(None, ErrorCode.RATE_LIMITED, "slower")


async def test_settled_waits_for_the_last_outcome_to_be_read(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        await stream.settled()
        await stream.send(b"1")
        waiting = asyncio.create_task(stream.settled())
        await peer.answer(await peer.hear(Frame))
        await peer.hear(Ack)
        assert not waiting.done()
        await anext(stream)
        await waiting


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
    async with connected(server) as (stream, peer):
        waiting = asyncio.ensure_future(call(stream))
        assert isinstance(await peer.next(), heard)
        await peer.socket.close(1012)
        with pytest.raises((Closed, NoResult)):
            await waiting
        with pytest.raises(Closed):
            await call(stream)


async def test_a_send_that_waits_for_room_is_woken_by_the_end(server: FakeServer) -> None:
    async with connected(server, welcome(max_in_flight=1)) as (stream, peer):
        await stream.send(b"1")
        sending = asyncio.create_task(stream.send(b"2"))
        await peer.hear(Frame)
        await peer.socket.close(1012)
        with pytest.raises(Closed):
            await sending


async def test_leaving_closes_normally_and_ends_the_iteration(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        seq = await stream.send(b"1")
        await peer.hear(Frame)
    assert peer.socket.close_code == 1000
    assert [outcome async for outcome in stream] == [Dropped(seq, "closed")]


async def test_no_task_outlives_the_session(server: FakeServer) -> None:
    before = asyncio.all_tasks()
    async with connected(server) as (stream, _):
        await stream.send(b"1")
    mine = {task for task in asyncio.all_tasks() - before if task.get_name() == "stream"}
    assert not mine


async def test_an_error_in_the_callers_block_comes_out_as_it_is(server: FakeServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connected(server):
            raise ZeroDivisionError
