"""Whatever the other side sends, an end goes on or hangs up, in one line of the log at most."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.lines.callee import Callee
from deployments.lines.channel import Channel, ChannelLost
from deployments.lines.handshake import VERSION, Key
from deployments.lines.line import Line
from deployments.lines.messages import Answer, Refusal, Reply, Request, read_reply
from models.work import FrameOutcome, FrameRequest
from tests.deployments.lines.conftest import FRAMES, NODE, outcomes
from tests.deployments.lines.examples import REPLIES, REQUESTS
from tests.deployments.lines.wire import Wire


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def written(message: Request | Reply) -> bytes:
    return framed(b"".join(message.parts()))


GARBAGE = st.binary() | st.binary(min_size=1).map(framed)
WORDS = st.sampled_from([b"", b"SGL", b"SGL" + bytes([VERSION]), b"SGL\x63"])
PICKLE = framed(pickle.dumps(ZeroDivisionError("loaded"), pickle.HIGHEST_PROTOCOL))


@contextmanager
def one_line_at_most() -> Iterator[list[str]]:
    """What is logged in the block."""
    said: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    lines, logger = Lines(), logging.getLogger("segstream")
    logger.addHandler(lines)
    try:
        yield said
    finally:
        logger.removeHandler(lines)
    assert len(said) <= 1, said


@asynccontextmanager
async def quiet_loop() -> AsyncIterator[None]:
    """All tasks of the block come to their end, and nothing is left to the loop to complain of."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
    yield
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    await asyncio.sleep(0)  # for what their ends set off
    assert complaints == []


async def answer(mode: str, frames: Sequence[FrameRequest]) -> list[FrameOutcome]:
    return outcomes(mode)


def to_callee(stream: bytes, *, introduced: bool) -> Wire:
    """What becomes of a connection on which a caller sends ``stream``."""

    async def run() -> Wire:
        async with quiet_loop():
            callee = Callee("one", NODE, answer)
            wire = Wire(callee._channel())
            if introduced:
                wire.introduce(callee._key, calls=True)
            wire.feed(stream)
        return wire

    return asyncio.run(run())


async def to_line(stream: bytes, *, introduced: bool) -> tuple[Wire, Any]:
    """What becomes of a connection on which a replica sends ``stream``, and of a call on it."""
    key, line, call = Key(), Line("one"), None
    wire = Wire(Channel(line, key, calls=True))
    async with quiet_loop():
        if introduced:
            wire.introduce(key, calls=False)
            call = asyncio.create_task(line.call("person", FRAMES))
            await asyncio.sleep(0)
            assert line.unanswered == 1
        wire.feed(stream)
        if not wire.is_closing():
            wire.close()
    if not introduced:
        assert isinstance(line._opened.exception(), ChannelLost)
    return wire, call and (call.exception() or call.result())


@given(WORDS, st.binary())
def test_whatever_comes_instead_of_a_handshake(word: bytes, stream: bytes) -> None:
    with one_line_at_most():
        wire = to_callee(word + stream, introduced=False)
        assert len(wire.written) == 36, "hello, and nothing else"
    with one_line_at_most():
        asyncio.run(to_line(word + stream, introduced=False))


@given(st.lists(GARBAGE | REQUESTS.map(written) | REPLIES.map(written), max_size=5))
def test_whatever_comes_from_a_caller(pieces: list[bytes]) -> None:
    with one_line_at_most() as said:
        wire = to_callee(b"".join(pieces), introduced=True)
        assert wire.is_closing() == bool(said)
    for reply in replies(bytes(wire.written)):
        assert isinstance(reply, Answer | Refusal)


@given(st.lists(GARBAGE | REQUESTS.map(written) | REPLIES.map(written), max_size=5))
def test_whatever_comes_from_a_replica(pieces: list[bytes]) -> None:
    with one_line_at_most():
        asyncio.run(to_line(b"".join(pieces), introduced=True))


@pytest.mark.parametrize("introduced", [False, True])
async def test_a_pickle_is_not_loaded(introduced: bool) -> None:
    with one_line_at_most() as said:
        assert (await asyncio.to_thread(to_callee, PICKLE, introduced=introduced)).is_closing()
    assert "which this side is not sent" in said[0] or "as a replica does" in said[0]
    with one_line_at_most():
        await to_line(PICKLE, introduced=introduced)


async def test_an_answer_to_no_call_ends_the_line_in_one_line_of_the_log() -> None:
    with one_line_at_most() as said:
        _, lost = await to_line(written(Answer(2, outcomes("one"))), introduced=True)
    assert isinstance(lost, ChannelLost)
    assert said == [
        "the line to one is lost, and 1 calls with it: "
        "it sent an answer to call 2, which is not under way"
    ]


def replies(stream: bytes) -> Iterator[Reply]:
    while stream:
        length = int.from_bytes(stream[:4], "big")
        yield read_reply(memoryview(stream[4 : 4 + length]))
        stream = stream[4 + length :]
