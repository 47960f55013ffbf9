"""Text on the wire: what is understood, what is refused, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ingress.wire import pictures, replies, requests, words
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
from ingress.wire.words import BadMessage, Dialect, DropCause, ErrorCode
from tests.ingress.wire.examples import attempt

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


def name_of(message: BaseModel) -> str:
    return type(message).__name__


def dialect_of(message: ClientMessage) -> Dialect:
    return next(d for d in Dialect if type(message) in CLIENT_MESSAGES[d])


def refusal(text: str, dialect: Dialect = Dialect.V1) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        parse_text(text, dialect)
    return caught.value


NAMES = [
    value.__name__
    for module in (pictures, replies, requests, words)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, BaseModel)
]


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
    text = json.dumps({"type": kind, **fields})
    made = attempt(lambda text: parse_text(text, Dialect.V1), text)
    if isinstance(made, BadMessage):
        assert not any(name in str(made) for name in NAMES)
    elif "Infinity" not in text and "NaN" not in text:  # in settings, which refuse them later
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
