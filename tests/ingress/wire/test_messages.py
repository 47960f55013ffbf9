"""The wire: what is understood, what is refused, and in which words."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ingress.wire import pictures, replies, requests, words
from ingress.wire.pictures import (
    FRAME_HEADER_BYTES,
    RESULT_HEADER_BYTES,
    ClassShare,
    Frame,
    Result,
    ResultMeta,
    encode_frame,
    encode_result,
    parse_frame,
    parse_result,
    plain_image,
)
from ingress.wire.replies import (
    SERVER_MESSAGES,
    Bye,
    Connected,
    Dropped,
    Error,
    ModeChanged,
    ModeInfo,
    Segmentation,
    ServerMessage,
    ServerPing,
    ServerPong,
    Stats,
    VizUpdated,
    Welcome,
)
from ingress.wire.requests import (
    CLIENT_MESSAGES,
    Ack,
    ChangeMode,
    ClientMessage,
    GetStats,
    Hello,
    Ping,
    PlainFrame,
    Pong,
    ResumeRequest,
    SubscribeStats,
    UpdateViz,
)
from ingress.wire.text import encode_text, parse_server_text, parse_text, type_of
from ingress.wire.words import IMAGE_TYPES, BadMessage, Dialect, DropCause, ErrorCode

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)

SENT_BY_CLIENTS: tuple[ClientMessage, ...] = (
    PlainFrame(type="frame", data="AAAA", timestamp=1.5),
    Hello(
        type="hello",
        token="t",
        client="c",
        resume=ResumeRequest(session="s", token="t", last_seq=3, last_control=2),
    ),
    Ack(type="ack", seq=2**32 - 1),
    ChangeMode(type="change_mode", model_mode="parts", id="a"),
    UpdateViz(type="update_viz", settings={"class_filter": None, "quality": 3}, id=4),
    GetStats(type="get_stats"),
    SubscribeStats(type="subscribe_stats", interval_s=0.5),
    Ping(type="ping", t=-1),
    Pong(type="pong", t=2**70),
)
SENT_BY_SERVERS: tuple[ServerMessage, ...] = (
    Connected(available_models=("person",), class_labels=("background",), current_model="person"),
    Welcome(
        session="s",
        resumed=False,
        heartbeat_s=10,
        timeout_s=10,
        max_in_flight=4,
        max_frame_bytes=1,
        max_frame_pixels=1,
        modes=(
            ModeInfo(
                name="person",
                title="Person",
                labels=("background",),
                palette=((0, 0, 0),),
                input_size=(256, 256),
            ),
        ),
        mode="person",
        viz={"class_filter": None},
        retry_ms=(500, 30_000),
    ),
    Segmentation(timestamp=1, data="AAAA", metadata={"fps": 2.0}),
    ModeChanged(reply_to="a", model_mode="parts", class_labels=("background", "hair")),
    VizUpdated(reply_to=4, settings={"class_filter": None}),
    Stats(
        avg_inference_ms=1,
        min_inference_ms=1,
        max_inference_ms=1,
        avg_fps=1,
        session={"drops": {"stale": 1}},
        scene={},
        server={},
    ),
    Error(code=ErrorCode.FRAME_REJECTED, message="no", frame_seq=3),
    Dropped(frames=(1, 2), cause=DropCause.STALE),
    ServerPing(t=1),
    ServerPong(t=1.5),
    Bye(reason="server_shutdown", retry_ms=(1, 2), resume=True),
)
META = ResultMeta(
    mode="person",
    width=640,
    height=480,
    media_type="image/png",
    stages_ms={"inference": 3.5},
    batch=2,
    classes=(ClassShare(id=1, label="person", share=0.25),),
)


def name_of(message: BaseModel) -> str:
    return type(message).__name__


def dialect_of(message: ClientMessage) -> Dialect:
    return next(d for d in Dialect if type(message) in CLIENT_MESSAGES[d])


def attempt(parse: Callable[[Any], Any], sent: Any) -> Any:
    """What ``parse`` makes of it: a value, or the BadMessage; anything else is raised."""
    try:
        return parse(sent)
    except BadMessage as bad:
        return bad


def refusal(text: str, dialect: Dialect = Dialect.V1) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        parse_text(text, dialect)
    return caught.value


# Names of ours that no peer should read.
NAMES = [
    value.__name__
    for module in (pictures, replies, requests, words)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, BaseModel)
]


# ------------------------------------------------------------------ text


@pytest.mark.parametrize("message", SENT_BY_CLIENTS, ids=name_of)
def test_client_messages_survive_the_wire(message: ClientMessage) -> None:
    assert parse_text(encode_text(message), dialect_of(message)) == message


@pytest.mark.parametrize("message", SENT_BY_SERVERS, ids=name_of)
def test_server_messages_survive_the_wire(message: ServerMessage) -> None:
    assert parse_server_text(encode_text(message)) == message


def test_every_declared_message_is_among_the_examples() -> None:
    declared = {m for d in Dialect for m in (*CLIENT_MESSAGES[d], *SERVER_MESSAGES[d])}
    assert declared == {type(m) for m in (*SENT_BY_CLIENTS, *SENT_BY_SERVERS)}


def test_absent_fields_are_left_out_and_settings_keep_their_nulls() -> None:
    assert json.loads(encode_text(GetStats(type="get_stats"))) == {"type": "get_stats"}
    assert json.loads(encode_text(VizUpdated(settings={"max_side": None}))) == {
        "type": "viz_updated",
        "settings": {"max_side": None},
    }
    viz = UpdateViz(type="update_viz", settings={"class_filter": None})
    assert json.loads(encode_text(viz))["settings"] == {"class_filter": None}


def test_unknown_fields_of_a_message_are_ignored() -> None:
    assert parse_text('{"type":"ping","t":1,"new":{"a":[1]}}', Dialect.V1) == Ping(type="ping", t=1)


@pytest.mark.parametrize("dialect", Dialect)
@given(text=st.text() | JSON.map(json.dumps))
def test_arbitrary_text_is_a_message_or_bad(text: str, dialect: Dialect) -> None:
    made = attempt(lambda sent: parse_text(sent, dialect), text)
    assert isinstance(made, ClientMessage) or str(made)


@pytest.mark.parametrize("kind", [type_of(model) for model in CLIENT_MESSAGES[Dialect.V1]])
@given(fields=st.dictionaries(st.sampled_from(["id", "t", "seq", "settings", "resume"]), JSON))
def test_arbitrary_fields_are_a_message_or_bad(kind: str, fields: dict[str, Any]) -> None:
    made = attempt(lambda text: parse_text(text, Dialect.V1), json.dumps({"type": kind, **fields}))
    if isinstance(made, BadMessage):
        assert not any(name in str(made) for name in NAMES)
    else:
        assert parse_text(encode_text(made), Dialect.V1) == made


@given(text=st.text() | JSON.map(json.dumps))
def test_arbitrary_text_from_a_server_is_a_message_or_bad(text: str) -> None:
    made = attempt(parse_server_text, text)
    assert isinstance(made, ServerMessage) or str(made)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON: recursion limit exceeded"),
        ('{"type":"ping","t":' + '{"a":' * 5_000, "not JSON: recursion limit exceeded"),
        ('{"type":"ping","t":1' + "0" * 5_000 + "}", "not JSON: number out of range"),
        ('{"type":"ping","t":"\\ud800"}', "not JSON"),
        ('{"type":"ping","t":"\ud800"}', "unicode"),
        ("[1]", "input should be an object"),
        ("null", "input should be an object"),
        ("{}", "type: required and missing"),
        ('{"type":7}', "type: input should be a valid string"),
        ('{"type":"ping"}', "ping: t: required and missing"),
        ('{"type":"ping","t":NaN}', "ping: t: "),
        ('{"type":"ping","t":-Infinity}', "ping: t: "),
        ('{"type":"ping","t":1e400}', "ping: t: "),
        ('{"type":"ping","t":true}', "ping: t: "),
        ('{"type":"ack","seq":"4"}', "ack: seq: input should be a valid integer"),
        ('{"type":"ack","seq":4.0}', "ack: seq: input should be a valid integer"),
        ('{"type":"ack","seq":-1}', "ack: seq: input should be greater than or equal to 0"),
        ('{"type":"ack","seq":4294967296}', "ack: seq: input should be less than or equal to"),
        ('{"type":"update_viz","settings":[]}', "update_viz: settings: "),
        ('{"type":"hello","resume":4}', "hello: resume: input should be an object"),
        ('{"type":"hello","resume":{}}', "hello: resume.session: required and missing"),
        ('{"type":"subscribe_stats","interval_s":-1}', "greater than or equal to 0"),
        ('{"type":"subscribe_stats","interval_s":3601}', "less than or equal to 3600"),
        ('{"type":"ping","t":1,"id":[]}', "id: "),
    ],
)
def test_what_is_wrong_with_a_text_message_is_said(text: str, words: str) -> None:
    assert words in str(refusal(text))


def test_a_bad_message_is_answered_to_the_request_that_it_was() -> None:
    assert refusal('{"type":"change_mode","id":"r7"}').reply_to == "r7"
    assert refusal('{"type":"chnge_mode","id":7}').reply_to == 7


def test_an_unknown_type_is_answered_with_the_nearest_known_one() -> None:
    assert 'did you mean "change_mode"?' in str(refusal('{"type":"chang_mode"}'))


def test_a_type_like_no_other_is_answered_with_all_that_are_known() -> None:
    words = str(refusal('{"type":"zzzz"}'))
    assert all(type_of(model) in words for model in CLIENT_MESSAGES[Dialect.V1])


@pytest.mark.parametrize(
    ("text", "dialect"),
    [('{"type":"frame","data":"AAAA"}', Dialect.V1), ('{"type":"hello"}', Dialect.PLAIN)],
)
def test_a_message_of_the_other_dialect_is_unknown(text: str, dialect: Dialect) -> None:
    assert "unknown type" in str(refusal(text, dialect))


SECRET = "hunter2-/etc/passwd"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": SECRET},
        {"type": "ping", "t": SECRET},
        {"type": "change_mode", "model_mode": SECRET * 10},
        {"type": "hello", "token": [SECRET]},
        {"type": "hello", "resume": SECRET},
        {"type": "update_viz", "settings": SECRET},
        {"type": "ack", "seq": SECRET},
        {"type": "get_stats", "id": [SECRET]},
    ],
)
def test_what_was_sent_is_never_echoed(fields: dict[str, Any]) -> None:
    words = str(refusal(json.dumps(fields)))
    assert SECRET not in words
    assert not any(name in words for name in NAMES)


def test_a_server_message_of_unknown_type_is_not_echoed() -> None:
    with pytest.raises(BadMessage, match=r"^type: unknown type$"):
        parse_server_text(json.dumps({"type": SECRET}))


# ------------------------------------------------------------------ frames


FRAMES = st.builds(Frame, seq=U32, ack=U32, captured_us=U64, image=st.binary())


@given(FRAMES)
def test_frames_survive_the_wire(frame: Frame) -> None:
    assert parse_frame(encode_frame(frame)) == frame


@given(st.binary())
def test_arbitrary_bytes_are_a_frame_or_bad(message: bytes) -> None:
    made = attempt(parse_frame, message)
    if isinstance(made, BadMessage):
        assert str(made).startswith("frame: ")
    else:
        assert encode_frame(made)[4:] == message[4:]


def test_a_frame_header_is_laid_out_as_documented() -> None:
    frame = Frame(seq=1, ack=2, captured_us=3, image=b"jpeg")
    assert encode_frame(frame) == struct.pack("<BBHIIQ", 1, 1, 0, 1, 2, 3) + b"jpeg"
    assert FRAME_HEADER_BYTES == 20


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "frame: 0 bytes; a frame starts with a header of 20"),
        (b"\x01" * 19, "frame: 19 bytes"),
        (
            struct.pack("<BBHIIQ", 2, 1, 0, 1, 0, 0),
            "frame: version 2; this server speaks version 1",
        ),
        (struct.pack("<BBHIIQ", 1, 2, 0, 1, 0, 0), "frame: kind 2; a client sends kind 1"),
    ],
)
def test_what_is_wrong_with_a_frame_is_said(message: bytes, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_frame(message)
    assert words in str(caught.value)


# ------------------------------------------------------------------ plain pictures


def plain(data: str) -> PlainFrame:
    return PlainFrame(type="frame", data=data, timestamp=12.5, id="f1")


@given(st.binary(min_size=1), st.sampled_from(["", *IMAGE_TYPES]))
def test_pictures_come_as_base64_or_as_data_urls(image: bytes, media_type: str) -> None:
    prefix = f"data:{media_type};base64," if media_type else ""
    assert plain_image(plain(prefix + base64.b64encode(image).decode())) == image


@given(st.text())
def test_arbitrary_data_is_a_picture_or_bad(data: str) -> None:
    made = attempt(plain_image, plain(data))
    assert made if isinstance(made, bytes) else made.code is ErrorCode.FRAME_REJECTED


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "data: is empty"),
        ("data:image/png;base64,", "data: is empty"),
        ("AAA", "data: is not base64"),
        ("AA AA", "data: is not base64"),
        ("AA_-", "data: is not base64"),
        ("\u00e9\u00e9\u00e9\u00e9", "data: is not base64"),
        ("data:text/html;base64,AAAA", "image/jpeg, image/png, image/webp"),
        ("data:image/gif;base64,AAAA", "image/jpeg, image/png, image/webp"),
        ("data:image/png,AAAA", "must start with data:TYPE;base64,"),
        ("data:image/png;base64", "must start with data:TYPE;base64,"),
        ("data:", "must start with data:TYPE;base64,"),
    ],
)
def test_what_is_wrong_with_a_plain_picture_is_said(data: str, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        plain_image(plain(data))
    refused = caught.value
    assert words in str(refused)
    assert (refused.code, refused.reply_to, refused.timestamp) == (
        ErrorCode.FRAME_REJECTED,
        "f1",
        12.5,
    )


# ------------------------------------------------------------------ results


@given(
    st.builds(
        Result,
        seq=U32,
        frame_seq=U32,
        captured_us=U64,
        meta=st.just(META),
        payload=st.binary(),
    )
)
def test_results_survive_the_wire(result: Result) -> None:
    assert parse_result(encode_result(result)) == result


@given(st.binary() | st.binary().map(lambda tail: struct.pack("<BBHIII", 1, 2, 0, 1, 1, 4) + tail))
def test_arbitrary_bytes_are_a_result_or_bad(message: bytes) -> None:
    made = attempt(parse_result, message)
    assert isinstance(made, Result) or str(made).startswith("result: ")


def result_with(meta: bytes, meta_bytes: int | None = None, kind: int = 2) -> bytes:
    size = len(meta) if meta_bytes is None else meta_bytes
    return struct.pack("<BBHIIIQ", 1, kind, 0, 1, 1, size, 0) + meta


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\x01\x02", f"result: 2 bytes; the header alone has {RESULT_HEADER_BYTES}"),
        (result_with(b"{}", kind=1), "result: version 1, kind 1; expected 1, 2"),
        (result_with(b"{}", meta_bytes=3), "result: the metadata runs past the end"),
        (result_with(META.model_dump_json().encode(), meta_bytes=2**32 - 1), "runs past the end"),
        (result_with(b"{"), "result: not JSON"),
        (result_with(b"\xff\xfe"), "result: not JSON"),
        (result_with(b"{}"), "result: mode: required and missing"),
    ],
)
def test_what_is_wrong_with_a_result_is_said(message: bytes, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_result(message)
    assert words in str(caught.value)
