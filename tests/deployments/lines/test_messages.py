"""What is written is read again, and nothing else is read as anything."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.lines.handshake import VERSION
from deployments.lines.messages import (
    Answer,
    Call,
    Cancel,
    Leaving,
    NotUnderstood,
    Refusal,
    Reply,
    Request,
    read_reply,
    read_request,
)
from models.view import View
from models.work import STAGES, FailureCode, FrameFailure, FrameRequest, FrameResult
from tests.deployments.lines.examples import REPLIES, REQUESTS

VIEW = View().model_dump_json().encode()
CALL = struct.pack(">BQB4sH", 1, 7, 4, b"mode", 1)


def _frame(view_bytes: int, image_bytes: int, single: int = 1) -> bytes:
    return struct.pack(">BHI", single, view_bytes, image_bytes)


FRAME = _frame(len(VIEW), 4) + VIEW + b"jpeg"
ANSWER = struct.pack(">BQH", 3, 7, 1)
RESULT = struct.pack(">BBIIHII4d", 0, 9, 4, 3, 1, 640, 480, 1.0, 2.0, 3.0, 4.0)
FAILURE = struct.pack(">BId", 1, 3, 0.5) + b"bad"


def body(message: Request | Reply) -> memoryview:
    return memoryview(bytearray(b"".join(message.parts())))


@given(REQUESTS)
def test_requests_are_read_as_they_were_written(request: Request) -> None:
    read = read_request(body(request))
    assert read == request
    if isinstance(read, Call):
        assert {type(frame.image) for frame in read.frames} <= {bytes}


@given(REPLIES)
def test_replies_are_read_as_they_were_written(reply: Reply) -> None:
    read = read_reply(body(reply))
    assert read == reply
    for outcome in read.outcomes if isinstance(read, Answer) else ():
        if isinstance(outcome, FrameResult):
            assert type(outcome.payload) is type(outcome.thumbnail) is bytes
            assert all(type(row) is tuple for row in outcome.classes)


def test_messages_are_laid_out_as_documented() -> None:
    call = Call(7, "mode", [FrameRequest(b"jpeg", View(), single=True)])
    assert body(call) == CALL + FRAME
    assert body(Cancel(7)) == struct.pack(">BQ", 2, 7)
    stages_ms = dict(zip(STAGES, (1.0, 2.0, 3.0, 4.0), strict=True))
    result = FrameResult(b"mask", "image/png", 640, 480, ((15, 0.5),), b"png", stages_ms)
    rest = b"image/png" + struct.pack(">Hd", 15, 0.5) + b"png" + b"mask"
    assert body(Answer(7, [result])) == ANSWER + RESULT + rest
    assert body(Answer(7, [FrameFailure("FRAME_REJECTED", "bad", 0.5)])) == ANSWER + FAILURE
    assert body(Refusal(7, "why")) == struct.pack(">BQ", 4, 7) + b"why"
    assert body(Leaving()) == struct.pack(">BQ", 5, 0)


def test_pictures_are_written_from_where_they_lie() -> None:
    frame = FrameRequest(b"jpeg" * 1000, View())
    assert any(part is frame.image for part in Call(1, "person", [frame]).parts())
    result = FrameResult(b"mask" * 1000, "", 1, 1, (), b"", dict.fromkeys(STAGES, 0.0))
    assert any(part is result.payload for part in Answer(1, [result]).parts())


# ------------------------------------------------------------------ what is not understood


@pytest.mark.parametrize(
    ("read", "sent", "why"),
    [
        (read_request, b"\1", "lacks its end"),
        (read_request, b"\0" + bytes(8), "kind 0, which this side is not sent"),
        (read_request, b"\3" + bytes(8), "kind 3, which this side is not sent"),
        (read_reply, b"\1" + bytes(8), "kind 1, which this side is not sent"),
        (read_reply, b"\xff" + bytes(8), "kind 255"),
        (read_request, CALL, "lacks its end"),
        (read_request, CALL + FRAME + b"x", "1 bytes behind its end"),
        (read_request, CALL[:-2] + b"\xff\xff" + FRAME, "lacks its end"),
        (read_request, CALL + _frame(2, 2**32 - 1) + b"{}", "lacks its end"),
        (read_request, CALL + _frame(13, 0) + b'{"quality":0}', "a view with 1 errors"),
        (read_request, CALL + _frame(9, 0) + b'{"new":1}', "a view with 1 errors"),
        (read_request, CALL + _frame(900, 0) + b"[" * 900, "a view with 1 errors"),
        (read_request, struct.pack(">BQB2s", 1, 7, 2, b"\xff\xff"), "not UTF-8"),
        (read_request, struct.pack(">BQB", 2, 7, 0), "1 bytes behind its end"),
        (read_reply, ANSWER, "lacks its end"),
        (read_reply, ANSWER + RESULT, "lacks its end"),
        (read_reply, ANSWER + b"\4", "an outcome of kind 4"),
        (read_reply, ANSWER + b"\1\xff\xff\xff\xff", "lacks its end"),
        (read_reply, struct.pack(">BQ", 4, 7) + b"\xff", "not UTF-8"),
        (read_reply, struct.pack(">BQ", 5, 0) + b"x", "1 bytes behind its end"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said(
    read: Callable[[memoryview], Any], sent: bytes, why: str
) -> None:
    with pytest.raises(NotUnderstood, match=why):
        read(memoryview(sent))


def test_a_pickle_is_no_message_and_is_not_loaded() -> None:
    sent = pickle.dumps(Planted(), pickle.HIGHEST_PROTOCOL)
    for read in (read_request, read_reply):
        for start in (b"", CALL, ANSWER):
            with pytest.raises(NotUnderstood):
                read(memoryview(start + sent))
    assert Planted.loaded == 0


class Planted:
    """Says so when it is unpickled."""

    loaded = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (plant, ())


def plant() -> None:
    Planted.loaded += 1


@given(st.binary())
def test_arbitrary_bytes_are_a_message_or_not_understood(sent: bytes) -> None:
    for kind in range(7):
        for read in (read_request, read_reply):
            attempt(read, bytes([kind]) + sent)


@given(REQUESTS | REPLIES, st.data())
def test_a_message_that_was_damaged_is_another_one_or_not_understood(
    message: Request | Reply, data: st.DataObject
) -> None:
    sent = bytearray(body(message))
    sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    for read in (read_request, read_reply):
        attempt(read, bytes(sent))


@given(REQUESTS | REPLIES, st.data())
def test_a_message_that_lacks_its_end_is_not_understood(
    message: Request | Reply, data: st.DataObject
) -> None:
    sent = body(message)
    cut = sent[: data.draw(st.integers(0, len(sent) - 1))]
    if isinstance(message, Refusal) and len(cut) >= 9:
        return  # its text goes to the end, wherever that is
    for read in (read_request, read_reply):
        with pytest.raises(NotUnderstood):
            read(cut)


def attempt(read: Callable[[memoryview], Request | Reply], sent: bytes) -> None:
    """Anything but a message or NotUnderstood is raised."""
    with suppress(NotUnderstood):
        assert isinstance(read(memoryview(sent)), Call | Cancel | Answer | Refusal | Leaving)


# ------------------------------------------------------------------ the version


def test_the_version_rises_with_what_crosses() -> None:
    """Another view or another stage is not understood by the code from before."""
    schema = json.dumps(bare(View.model_json_schema()), sort_keys=True)
    words = repr((schema, STAGES, get_args(FailureCode), ANSWER, RESULT, FAILURE, CALL, FRAME))
    assert (VERSION, hashlib.sha256(words.encode()).hexdigest()[:12]) == (2, "5a0f1b6742e7"), (
        "what crosses a line has changed: raise VERSION in deployments/lines/handshake.py, and "
        "write both here"
    )


def bare(schema: Any) -> Any:
    """A JSON schema without the words for its readers."""
    if isinstance(schema, dict):
        return {key: bare(part) for key, part in schema.items() if key != "description"}
    return [bare(part) for part in schema] if isinstance(schema, list) else schema
