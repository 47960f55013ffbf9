"""Each dialect's words for a result, a failure and a drop."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from ingress.dispatch.flight import Flight
from ingress.session.dialects import VOICES, Voice, background_free
from ingress.session.figures import Figures
from ingress.session.outbox import Outbox
from ingress.session.single import SingleFrame
from ingress.wire.pictures import Frame, parse_result
from ingress.wire.replies import Segmentation
from ingress.wire.said import encoded
from ingress.wire.text import parse_server_text
from ingress.wire.words import Dialect, DropCause, ErrorCode
from models.view import View
from models.work import FrameRequest, FrameResult
from tests.ingress.world import mode_info

PARTS = mode_info("parts")
STAGES = {"decode": 1.25, "inference": 2.0, "render": 0.5, "encode": 0.25}


def found(*classes: tuple[int, float], payload: bytes = b"picture") -> FrameResult:
    return FrameResult(payload, "image/png", 4, 3, classes, b"thumb", STAGES)


async def landed(timestamp: float | None = None) -> Flight:
    """A flight that waited 10 ms for its call and landed 30 ms after that."""
    frame = Frame(7, 0, 123_456, b"image", timestamp)
    source = SingleFrame(b"image", View(), "parts")
    flight = Flight(source, source, frame, FrameRequest(b"image", View()), "parts", 100.0, 100.01)
    flight.landed_at, flight.batch = 100.04, 5
    return flight


def figures() -> Figures:
    """Those of a session with one result, which the one at hand is part of."""
    figures = Figures()
    figures.answered(100.04, STAGES)
    return figures


async def spoken(result: FrameResult, timestamp: float | None = None) -> dict[str, Any]:
    voice = VOICES[Dialect.PLAIN]
    said = voice.result(1, await landed(timestamp), result, PARTS, figures())
    message: dict[str, Any] = json.loads(await encoded(said))
    return message


def test_the_background_is_not_a_class_that_was_found() -> None:
    classes = background_free(found((0, 0.5), (1, 0.30004), (5, 0.19996)), PARTS)
    assert [(c.id, c.label, c.share) for c in classes] == [
        (1, PARTS.labels[1], 0.3),
        (5, PARTS.labels[5], 0.2),
    ]
    assert background_free(found((0, 1.0)), PARTS) == ()


async def test_a_plain_result_has_the_original_fields() -> None:
    message = await spoken(found((0, 0.5), (1, 0.5)), timestamp=1712.5)
    assert (message["type"], message["timestamp"]) == ("segmentation", 1712.5)
    assert base64.b64decode(message["data"]) == b"picture"
    metadata = message["metadata"]
    assert metadata["inference_time_ms"] == 2.0
    assert metadata["total_time_ms"] == 40.0
    assert (metadata["model_mode"], metadata["avg_inference_ms"]) == ("parts", 2.0)
    assert metadata["detected_classes"] == [PARTS.labels[1]]
    assert "fps" in metadata


async def test_a_plain_result_is_what_the_published_schema_says() -> None:
    message = await spoken(found((0, 1.0)), timestamp=3)
    assert isinstance(parse_server_text(json.dumps(message)), Segmentation)


@pytest.mark.parametrize("timestamp", [0, -1, 0.1, 2**53])
async def test_a_timestamp_comes_back_as_it_came(timestamp: float) -> None:
    message = await spoken(found((0, 1.0)), timestamp)
    assert message["timestamp"] == timestamp
    assert type(message["timestamp"]) is type(timestamp)


async def test_a_frame_without_a_timestamp_gets_none_back() -> None:
    assert "timestamp" not in await spoken(found((0, 1.0)))


async def test_a_plain_result_without_a_picture_has_empty_data() -> None:
    assert (await spoken(found((0, 1.0), payload=b"")))["data"] == ""


async def test_a_v1_result_names_its_frame_its_batch_and_its_stages() -> None:
    voice = VOICES[Dialect.V1]
    said = voice.result(9, await landed(), found((0, 0.5), (2, 0.5)), PARTS, figures())
    message = await encoded(said)
    assert isinstance(message, bytes)
    result = parse_result(message)
    assert (result.seq, result.frame_seq, result.captured_us) == (9, 7, 123_456)
    assert result.payload == b"picture"
    assert result.meta.stages_ms == {"queue": 10.0, **STAGES}
    assert (result.meta.mode, result.meta.batch) == ("parts", 5)
    assert (result.meta.width, result.meta.height) == (4, 3)
    assert [c.label for c in result.meta.classes] == [PARTS.labels[2]]


@pytest.mark.parametrize(
    ("dialect", "named"),
    [(Dialect.PLAIN, {"timestamp": 4}), (Dialect.V1, {"frame_seq": 7})],
)
def test_a_failure_names_its_frame_in_the_dialects_way(
    dialect: Dialect, named: dict[str, int]
) -> None:
    frame = Frame(7, 0, 0, b"x", timestamp=4)
    error = VOICES[dialect].failure(frame, ErrorCode.FRAME_REJECTED, "not a picture")
    fields = json.loads(error.model_dump_json())
    assert fields == {
        "type": "error",
        "code": "FRAME_REJECTED",
        "message": "not a picture",
        "recoverable": True,
        **named,
    }


def told_of_drop(dialect: Dialect, cause: DropCause) -> list[dict[str, Any]]:
    async def tell() -> list[dict[str, Any]]:
        outbox = Outbox(8, 4096, lambda: None)
        for seq in (7, 8):
            outbox.put(VOICES[dialect].dropped(Frame(seq, 0, 0, b"x", timestamp=seq), cause))
        said: list[dict[str, Any]] = []
        while True:
            try:
                outgoing = await asyncio.wait_for(outbox.take(), 0.001)
            except TimeoutError:
                return said
            said.append(json.loads(await encoded(outgoing.said)))

    return asyncio.run(tell())


@pytest.mark.parametrize("cause", DropCause)
def test_a_plain_client_is_told_of_each_drop_in_words(cause: DropCause) -> None:
    said = told_of_drop(Dialect.PLAIN, cause)
    assert [(m["code"], m["timestamp"]) for m in said] == [
        ("FRAME_DROPPED", 7),
        ("FRAME_DROPPED", 8),
    ]
    assert said[0]["message"]


def test_every_cause_of_a_drop_has_words_of_its_own() -> None:
    words = {told_of_drop(Dialect.PLAIN, cause)[0]["message"] for cause in DropCause}
    assert len(words) == len(DropCause)


@pytest.mark.parametrize("cause", DropCause)
def test_a_v1_client_is_told_of_drops_together(cause: DropCause) -> None:
    assert told_of_drop(Dialect.V1, cause) == [
        {"type": "dropped", "frames": [7, 8], "cause": cause.value}
    ]


@pytest.mark.parametrize(
    ("dialect", "outstanding", "room"),
    [
        (Dialect.PLAIN, 0, 3),
        (Dialect.PLAIN, 2, 1),
        (Dialect.PLAIN, 3, 1),  # the newest frame always has a place
        (Dialect.V1, 0, 3),
        (Dialect.V1, 3, 3),
    ],
)
def test_the_waiting_room(dialect: Dialect, outstanding: int, room: int) -> None:
    assert VOICES[dialect].waiting_room(3, outstanding) == room


@pytest.mark.parametrize("dialect", Dialect)
def test_every_dialect_has_its_own_voice(dialect: Dialect) -> None:
    voice: Voice = VOICES[dialect]
    assert voice.answers_all is (dialect is Dialect.PLAIN)
    assert voice.acknowledged is (dialect is Dialect.V1)
