"""What the server says becomes what it sends, in one step."""

from __future__ import annotations

import json

import pytest

from ingress.wire.pictures import Result, parse_result
from ingress.wire.replies import SERVER_MESSAGES, Segmentation, ServerPong
from ingress.wire.said import encoded, kind_of, size_of
from ingress.wire.words import Dialect
from tests.ingress.wire.examples import META


def test_a_result_is_binary_and_everything_else_is_text() -> None:
    result = Result(1, 2, 3, META, b"picture")
    message = encoded(result)
    assert isinstance(message, bytes)
    assert parse_result(message) == result
    assert encoded(ServerPong(t=1)) == '{"type":"pong","t":1}'


@pytest.mark.parametrize("message", ["{}", b"bytes"])
def test_what_is_encoded_already_stays_as_it_is(message: str | bytes) -> None:
    assert encoded(message) is message


@pytest.mark.parametrize("timestamp", [0, -1, 0.1, 2**53, None])
def test_a_plain_answer_has_the_timestamp_as_it_came_or_none(timestamp: float | None) -> None:
    message = encoded(Segmentation(timestamp=timestamp, data="", metadata={}))
    assert json.loads(message).get("timestamp") == timestamp
    assert ("timestamp" in json.loads(message)) is (timestamp is not None)


def test_messages_are_counted_under_their_type() -> None:
    kinds = {kind_of(kind) for kind in SERVER_MESSAGES[Dialect.V1]}
    assert {"welcome", "error", "bye"} < kinds
    assert kind_of(Result) == "result"


def test_a_size_is_in_bytes_on_the_wire() -> None:
    assert size_of("\u20ac") == size_of(b"abc") == size_of("abc") == 3
