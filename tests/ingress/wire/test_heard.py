"""What a client sent becomes what it said, in one step."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.settings import SessionLimits
from ingress.wire.heard import heard
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.requests import ClientMessage, Ping
from ingress.wire.words import BadMessage, Dialect, ErrorCode

LIMITS = SessionLimits()


def test_a_binary_message_is_a_frame_with_its_own_number() -> None:
    frame = Frame(seq=7, ack=3, captured_us=9, image=b"picture")
    assert heard(encode_frame(frame), Dialect.V1, LIMITS, plain_seq=99) == frame


def test_a_plain_frame_gets_its_number_here_and_keeps_its_timestamp() -> None:
    data = base64.b64encode(b"picture").decode()
    text = json.dumps({"type": "frame", "data": data, "timestamp": 1.5})
    said = heard(text, Dialect.PLAIN, LIMITS, plain_seq=4)
    assert said == Frame(seq=4, ack=0, captured_us=0, image=b"picture", timestamp=1.5)


@pytest.mark.parametrize("dialect", Dialect)
def test_other_text_is_its_message(dialect: Dialect) -> None:
    assert heard('{"type":"ping","t":7}', dialect, LIMITS) == Ping(type="ping", t=7)


def test_a_binary_message_in_the_plain_dialect_is_told_of_the_other() -> None:
    with pytest.raises(BadMessage, match=r"segstream\.v1"):
        heard(b"binary", Dialect.PLAIN, LIMITS)


def test_a_plain_picture_that_is_none_is_a_rejected_frame() -> None:
    with pytest.raises(BadMessage) as caught:
        heard('{"type":"frame","data":"?","timestamp":4}', Dialect.PLAIN, LIMITS)
    assert (caught.value.code, caught.value.timestamp) == (ErrorCode.FRAME_REJECTED, 4)


@pytest.mark.parametrize(
    ("dialect", "limit"),
    [(Dialect.PLAIN, LIMITS.plain_message_bytes), (Dialect.V1, LIMITS.max_control_bytes)],
)
def test_text_past_the_limit_of_its_dialect_is_refused_unread(dialect: Dialect, limit: int) -> None:
    with pytest.raises(BadMessage, match=f"at most {limit} are taken"):
        heard("x" * (limit + 1), dialect, LIMITS)
    with pytest.raises(BadMessage, match="not JSON"):
        heard("x" * limit, dialect, LIMITS)


@given(message=st.binary() | st.text(), dialect=st.sampled_from(Dialect))
def test_whatever_comes_is_understood_or_bad(message: str | bytes, dialect: Dialect) -> None:
    try:
        said = heard(message, dialect, LIMITS)
    except BadMessage:
        return
    assert isinstance(said, Frame | ClientMessage)
