"""What a client sent becomes what it said, in one step."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.settings import SessionLimits
from ingress.wire.heard import heard
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.requests import ClientMessage, Ping
from ingress.wire.slices import SLICE
from ingress.wire.words import BadMessage, Dialect, ErrorCode

LIMITS = SessionLimits()


async def test_a_binary_message_is_a_frame_with_its_own_number() -> None:
    frame = Frame(seq=7, ack=3, captured_us=9, image=b"picture")
    assert await heard(encode_frame(frame), Dialect.V1, LIMITS, plain_seq=99) == frame


async def test_a_plain_frame_gets_its_number_here_and_keeps_its_timestamp() -> None:
    data = base64.b64encode(b"picture").decode()
    text = json.dumps({"type": "frame", "data": data, "timestamp": 1.5})
    said = await heard(text, Dialect.PLAIN, LIMITS, plain_seq=4)
    assert said == Frame(seq=4, ack=0, captured_us=0, image=b"picture", timestamp=1.5)


@pytest.mark.parametrize("dialect", Dialect)
async def test_other_text_is_its_message(dialect: Dialect) -> None:
    assert await heard('{"type":"ping","t":7}', dialect, LIMITS) == Ping(type="ping", t=7)


async def test_a_binary_message_in_the_plain_dialect_is_told_of_the_other() -> None:
    with pytest.raises(BadMessage, match=r"segstream\.v1"):
        await heard(b"binary", Dialect.PLAIN, LIMITS)


async def test_a_plain_picture_that_is_none_is_a_rejected_frame() -> None:
    with pytest.raises(BadMessage) as caught:
        await heard('{"type":"frame","data":"?","timestamp":4}', Dialect.PLAIN, LIMITS)
    assert (caught.value.code, caught.value.timestamp) == (ErrorCode.FRAME_REJECTED, 4)


@pytest.mark.parametrize(
    ("dialect", "limit"),
    [(Dialect.PLAIN, LIMITS.plain_message_bytes), (Dialect.V1, LIMITS.max_control_bytes)],
)
async def test_text_past_the_limit_of_its_dialect_is_refused_unread(
    dialect: Dialect, limit: int
) -> None:
    with pytest.raises(BadMessage, match=f"at most {limit} are taken"):
        await heard("x" * (limit + 1), dialect, LIMITS)
    with pytest.raises(BadMessage, match="not JSON"):
        await heard("x" * limit, dialect, LIMITS)


@given(message=st.binary() | st.text(), dialect=st.sampled_from(Dialect))
async def test_whatever_comes_is_understood_or_bad(message: str | bytes, dialect: Dialect) -> None:
    try:
        said = await heard(message, dialect, LIMITS)
    except BadMessage:
        return
    assert isinstance(said, Frame | ClientMessage)


async def test_a_long_frame_is_read_in_turns_and_whole() -> None:
    image = bytes(range(256)) * (LIMITS.max_frame_bytes // 256)
    text = json.dumps({"type": "frame", "data": base64.b64encode(image).decode()})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    said = await heard(text, Dialect.PLAIN, LIMITS)
    beside.cancel()
    assert isinstance(said, Frame)
    assert said.image == image
    assert turns >= 2 * (len(text) // SLICE), "to count values, and to decode"


async def test_a_frame_with_escaped_slashes_is_read() -> None:
    image = b"\xff" * 300_000
    data = base64.b64encode(image).decode()
    text = json.dumps({"type": "frame", "data": data[:-64]})[:-2] + "\\/" * 64 + '"}'
    said = await heard(text, Dialect.PLAIN, LIMITS)
    assert isinstance(said, Frame)
    assert said.image == image


@pytest.mark.parametrize("filler", ["\u6f22", "\u00e9", "\\n", "\\u0041", "\U0001f600"])
async def test_a_long_text_that_is_dear_to_parse_is_refused_unparsed(filler: str) -> None:
    text = '{"type":"frame","data":"' + filler * (1_000_000 // len(filler)) + '"}'
    with pytest.raises(BadMessage, match="a frame is base64"):
        await heard(text, Dialect.PLAIN, LIMITS)
