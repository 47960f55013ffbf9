"""The wire's parsers: each message is understood, or refused with BadMessage, at a small cost."""

from __future__ import annotations

import gc
import json
import random
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from client.link import parse_text as parse_as_client
from ingress.settings import SessionLimits
from ingress.wire.heard import heard
from ingress.wire.pictures import (
    FRAME_FIELDS,
    RESULT_FIELDS,
    Frame,
    encode_frame,
    encode_result,
    layout,
    parse_result,
)
from ingress.wire.pictures import Result as ResultMessage
from ingress.wire.replies import Error, ServerMessage, ServerPong
from ingress.wire.requests import ClientMessage, Ping
from ingress.wire.text import encode_text, parse_server_text
from ingress.wire.words import BadMessage, Dialect
from tests.fuzz.fuzzed import check_sentence, fuzzed, timed, turned
from tests.fuzz.json_messages import keys_of, mutated
from tests.ingress.wire.examples import META

MOST_MS = 50.0
LIMITS = SessionLimits()
REPLY_CHARS = 16_384  # an id and a timestamp of 4,300 digits each are the peer's own

SAID_BY_CLIENTS: list[dict[str, Any]] = [
    {"type": "frame", "data": "AAAA", "timestamp": 1.5, "id": "a"},
    {"type": "frame", "data": "data:image/png;base64,AAAA", "timestamp": 2**70, "id": 3},
    {
        "type": "hello", "token": "t", "client": "c", "id": "h",
        "resume": {"session": "s", "token": "t", "last_seq": 3, "last_control": 2},
    },
    {"type": "ack", "seq": 2**32 - 1},
    {"type": "change_mode", "model_mode": "parts", "id": "a"},
    {"type": "update_viz", "settings": {"class_filter": [1], "quality": 3}, "id": 4},
    {"type": "get_stats", "id": -7},
    {"type": "subscribe_stats", "interval_s": 0.5},
    {"type": "ping", "t": -1},
    {"type": "pong", "t": 2**70},
]  # fmt: skip
SAID_BY_SERVERS: list[dict[str, Any]] = [
    {
        "type": "welcome", "session": "s", "resume_token": "t", "resumed": False,
        "heartbeat_s": 10, "timeout_s": 10, "max_in_flight": 4, "max_frame_bytes": 1,
        "max_frame_pixels": 1, "mode": "person", "viz": {"class_filter": None},
        "retry_ms": [500, 30_000],
        "modes": [
            {"name": "person", "title": "Person", "labels": ["background"],
             "palette": [[0, 0, 0]], "input_size": [256, 256]}
        ],
    },
    {"type": "connected", "available_models": ["p"], "class_labels": [], "current_model": "p"},
    {"type": "segmentation", "timestamp": 1, "data": "AAAA", "metadata": {"fps": 2.0}},
    {"type": "mode_changed", "reply_to": "a", "model_mode": "parts", "class_labels": ["hair"]},
    {"type": "viz_updated", "reply_to": 4, "settings": {"class_filter": None}},
    {
        "type": "stats", "avg_inference_ms": 1, "min_inference_ms": 1, "max_inference_ms": 1,
        "avg_fps": 1, "session": {"drops": {"stale": 1}}, "scene": {}, "server": {},
    },
    {"type": "error", "code": "FRAME_REJECTED", "message": "no", "frame_seq": 3},
    {"type": "dropped", "frames": [1, 2], "cause": "stale", "control_seq": 1},
    {"type": "ping", "t": 1},
    {"type": "pong", "t": 1.5},
    {"type": "bye", "reason": "server_shutdown", "retry_ms": [1, 2], "resume": True},
]  # fmt: skip

RESULT = encode_result(ResultMessage(3, 2, 1, META, b"picture"))
FRAME = encode_frame(Frame(3, 2, 1, b"picture"))

frame_heads = st.builds(
    lambda numbers: layout(FRAME_FIELDS).pack(*numbers),
    st.tuples(*[st.integers(0, 256 ** struct.calcsize("<" + f.code) - 1) for f in FRAME_FIELDS]),
)
result_heads = st.builds(
    lambda numbers: layout(RESULT_FIELDS).pack(*numbers),
    st.tuples(
        st.sampled_from([1, 1, 1, 0, 255]),
        st.sampled_from([2, 2, 2, 0, 1, 255]),
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 400) | st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
    ),
)
metadata = mutated([META.model_dump(mode="json")]).map(str.encode)


@st.composite
def results(draw: Callable[..., Any]) -> bytes:
    """Binary messages of a server whose metadata is as long as the header says, or is not."""
    meta, payload = draw(metadata), draw(st.binary(max_size=20))
    if draw(st.booleans()):
        head = layout(RESULT_FIELDS).pack(1, 2, 0, 1, 1, len(meta), 0)
    else:
        head = draw(result_heads)
    message: bytes = head + meta + payload
    return message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message


def check_refusal(bad: BadMessage, sent: object) -> None:
    """What a server answers to it goes over the wire, and says no more than it should."""
    check_sentence(str(bad), sent)
    reply = Error(
        reply_to=bad.reply_to,
        code=bad.code,
        message=str(bad),
        frame_seq=bad.frame_seq,
        timestamp=bad.timestamp,
    )
    text = encode_text(reply)
    assert len(text) <= REPLY_CHARS
    assert parse_server_text(text) == reply


def hear(message: str | bytes, dialect: Dialect) -> Frame | ClientMessage:
    return turned(partial(heard, message, dialect, LIMITS, plain_seq=1), MOST_MS, __name__)


def listen(message: str | bytes, dialect: Dialect) -> None:
    """What a session does with a message, as far as the wire goes."""
    try:
        said = hear(message, dialect)
    except BadMessage as bad:
        check_refusal(bad, keys_of(message) if isinstance(message, str) else message)
        return
    assert isinstance(said, Frame | ClientMessage)
    if isinstance(said, Ping):
        pong = ServerPong(reply_to=said.id, t=said.t)
        assert parse_server_text(encode_text(pong)) == pong


@fuzzed(1500, text=mutated(SAID_BY_CLIENTS), dialect=st.sampled_from(Dialect))
def test_text_of_clients(text: str, dialect: Dialect) -> None:
    listen(text, dialect)


@fuzzed(300, text=st.text(max_size=2000), dialect=st.sampled_from(Dialect))
def test_noise_of_clients(text: str, dialect: Dialect) -> None:
    listen(text, dialect)


@fuzzed(
    300,
    message=st.binary(max_size=400) | st.builds(bytes.__add__, frame_heads, st.binary()),
    dialect=st.sampled_from(Dialect),
)
def test_binary_messages_of_clients(message: bytes, dialect: Dialect) -> None:
    listen(message, dialect)


FLOODS = (
    "AAAA", "A", "=", " ", "é", "\\n", '"a":1,', "{", "[[", "\\u0041", "1e9,", "[],", '"",',
    '"%09d":0,', '{"a":0},',
)  # fmt: skip
AROUND = (
    '{"type":"frame","data":"~"}', '{"type":"ping","t":1,"x":"~"}', '{"type":"~"}',
    '{"id":"~","type":"frame"}', '{"type":"ping","t":1,"x":[~0]}', '{"type":"ping",~"t":1}',
    '{"type":"update_viz","settings":{~"a":0}}', '{"type":"hello","resume":{~"a":0}}',
    '{"type":"update_viz","settings":{"class_filter":[~0]}}', "[~", "~",
)  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("dialect", Dialect)
def test_floods_as_long_as_a_message_may_be(around: str, dialect: Dialect) -> None:
    plain = dialect is Dialect.PLAIN
    most = LIMITS.plain_message_bytes if plain else LIMITS.max_control_bytes
    for put in FLOODS:
        numbered = "%" in put
        times = (most - 100) // (len(put % 0) if numbered else len(put))
        flood = "".join(put % n for n in range(times)) if numbered else put * times
        listen(around.replace("~", flood), dialect)


@fuzzed(1000, text=mutated(SAID_BY_SERVERS) | st.text(max_size=400))
def test_text_of_servers(text: str) -> None:
    try:
        said = timed(partial(parse_as_client, text), MOST_MS, __name__)
    except BadMessage as bad:
        check_sentence(str(bad), keys_of(text))
    else:
        assert isinstance(said, ServerMessage)


@fuzzed(500, message=results() | st.binary(max_size=400))
def test_binary_messages_of_servers(message: bytes) -> None:
    try:
        said = timed(partial(parse_result, message), MOST_MS, __name__)
    except BadMessage as bad:
        check_sentence(str(bad), message.decode(errors="replace"))
    else:
        assert said.payload == message[len(message) - len(said.payload) :]


# ------------------------------------------------------------------ memory

_BATCH, _GROWTH_BYTES = 600, 32 * 1024


def _shuffled(rng: random.Random, sample: bytes) -> bytes:
    at, to = sorted(rng.choices(range(len(sample)), k=2))
    return sample[:at] + bytes(rng.choices(sample, k=rng.randrange(9))) + sample[to:]


def test_a_thousand_refusals_leave_nothing_in_memory() -> None:
    rng = random.Random()
    texts = [json.dumps(message).encode() for message in SAID_BY_CLIENTS + SAID_BY_SERVERS]

    def batch() -> None:
        for _ in range(_BATCH):
            binary = _shuffled(rng, rng.choice((FRAME, RESULT)))
            text = _shuffled(rng, rng.choice(texts)).decode(errors="replace")
            for parse in (
                partial(hear, text, Dialect.V1),
                partial(hear, text, Dialect.PLAIN),
                partial(hear, binary, Dialect.V1),
                partial(parse_as_client, text),
                partial(parse_result, binary),
            ):
                with suppress(BadMessage):
                    parse()

    tracemalloc.start()
    try:
        batch()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        batch()
        batch()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < _GROWTH_BYTES
    finally:
        tracemalloc.stop()
