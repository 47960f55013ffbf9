"""What the server says becomes what it sends, in one step."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode

import pytest

from ingress.wire.pictures import PlainResult, Result, parse_result
from ingress.wire.replies import SERVER_MESSAGES, Segmentation, ServerPong
from ingress.wire.said import encoded, kind_of, size_of
from ingress.wire.slices import SLICE
from ingress.wire.text import encode_text
from ingress.wire.words import Dialect
from tests.ingress.wire.examples import META


async def test_a_result_is_binary_and_everything_else_is_text() -> None:
    result = Result(1, 2, 3, META, b"picture")
    message = await encoded(result)
    assert isinstance(message, bytes)
    assert parse_result(message) == result
    assert await encoded(ServerPong(t=1)) == '{"type":"pong","t":1}'


@pytest.mark.parametrize("message", ["{}", b"bytes"])
async def test_what_is_encoded_already_stays_as_it_is(message: str | bytes) -> None:
    assert await encoded(message) is message


@pytest.mark.parametrize("timestamp", [0, -1, 0.1, 2**53, None])
async def test_a_plain_answer_has_the_timestamp_as_it_came_or_none(timestamp: float | None) -> None:
    message = await encoded(PlainResult(timestamp, b"", {}))
    assert json.loads(message).get("timestamp") == timestamp
    assert ("timestamp" in json.loads(message)) is (timestamp is not None)


def test_messages_are_counted_under_their_type() -> None:
    kinds = {kind_of(kind) for kind in SERVER_MESSAGES[Dialect.V1]}
    assert {"welcome", "error", "bye"} < kinds
    assert kind_of(Result) == "result"
    assert kind_of(PlainResult) == "segmentation"


def test_a_size_is_in_bytes_on_the_wire() -> None:
    assert size_of("\u20ac") == size_of(b"abc") == size_of("abc") == 3


@pytest.mark.parametrize("size", [0, 1, 2, 3, SLICE - 1, SLICE, 3 * SLICE + 1])
async def test_a_plain_answer_is_the_json_of_its_declaration(size: int) -> None:
    payload, metadata = bytes(size), {"data": "x", "model_mode": 'a"data":""'}
    whole = Segmentation(timestamp=1.5, data=b64encode(payload).decode(), metadata=metadata)
    assert await encoded(PlainResult(1.5, payload, metadata)) == encode_text(whole)


async def test_a_large_plain_answer_is_made_in_turns() -> None:
    making = asyncio.create_task(encoded(PlainResult(1, bytes(50 * SLICE), {})))
    turns = 0
    while not making.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 50
