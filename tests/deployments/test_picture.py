"""``POST /api/segment``: its query, its body, its answers and its refusals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message

from deployments.picture import OPENAPI, PictureRefused, answer, flown, read_picture, read_query
from ingress.dispatch.flight import AnalysisFailed, Flight
from ingress.session.single import SingleFrame
from ingress.settings import Http, SessionLimits
from ingress.wire.pictures import Frame
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest, FrameResult
from tests.ingress.turns import end_calls
from tests.ingress.world import World, new_world

STAGES = {"decode": 1.0, "inference": 2.0, "render": 1.0, "encode": 1.0}


@pytest.fixture
def world() -> World:
    return new_world()


def refusal(caught: pytest.ExceptionInfo[PictureRefused]) -> tuple[int, str, str]:
    response = caught.value.response()
    error = json.loads(bytes(response.body))["error"]
    return response.status_code, error["code"], error["message"]


# ------------------------------------------------------------------ the query


def test_without_a_query_it_is_a_mask_in_the_default_mode(world: World) -> None:
    assert read_query({}, world.service) == ("person", View(output="mask"))


def test_the_query_takes_every_setting_of_a_view(world: World) -> None:
    query = QueryParams(
        "mode=parts&output=overlay&format=webp&quality=70&max_side=320&overlay_opacity=0.25"
        "&visualization_mode=side_by_side&class_filter=1,4&colormap=turbo&background=%23ff0000"
    )
    mode, view = read_query(query, world.service)
    assert mode == "parts"
    assert view == View(
        output="overlay",
        format="webp",
        quality=70,
        max_side=320,
        overlay_opacity=0.25,
        visualization_mode="side-by-side",
        class_filter=(1, 4),
        colormap="turbo",
        background="#ff0000",
    )


@pytest.mark.parametrize(
    ("query", "status", "code", "words"),
    [
        ("mode=persn", 404, "INVALID_MODE", 'did you mean "person"'),
        ("mode=", 404, "INVALID_MODE", "known are person, person-wide, parts, salient"),
        ("qualty=3", 422, "VIZ_UPDATE_FAILED", 'did you mean "quality"'),
        ("quality=101", 422, "VIZ_UPDATE_FAILED", "quality"),
        ("quality=fine", 422, "VIZ_UPDATE_FAILED", "quality"),
        ("overlay_opacity=nan", 422, "VIZ_UPDATE_FAILED", "overlay_opacity"),
        ("output=video", 422, "VIZ_UPDATE_FAILED", "output"),
        ("class_filter=7", 422, "VIZ_UPDATE_FAILED", "no class 7; this mode has 0 to 1"),
        ("class_filter=1;2", 422, "VIZ_UPDATE_FAILED", "class_filter"),
        ("class_filter=", 422, "VIZ_UPDATE_FAILED", "class_filter"),
        ("class_filter=-1", 422, "VIZ_UPDATE_FAILED", "class_filter"),
        ("class_filter=" + "9" * 5000, 422, "VIZ_UPDATE_FAILED", "class_filter"),
    ],
)
def test_a_query_that_cannot_be_is_refused_in_words(
    world: World, query: str, status: int, code: str, words: str
) -> None:
    with pytest.raises(PictureRefused) as caught:
        read_query(QueryParams(query), world.service)
    assert refusal(caught)[:2] == (status, code)
    assert words in str(caught.value)


# ------------------------------------------------------------------ the body


def upload(*messages: Message) -> Request:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    return Request({"type": "http", "headers": []}, receive)


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        ({"type": "http.request"}, 400, "send a JPEG, PNG or WebP"),
        ({"type": "http.request", "body": b"x" * 2000}, 413, "at most 1024 bytes"),
        ({"type": "http.disconnect"}, 499, "left"),
    ],
)
async def test_a_body_that_is_no_picture_is_refused_in_words(
    message: Message, status: int, words: str
) -> None:
    with pytest.raises(PictureRefused, match=words) as caught:
        await read_picture(upload(message), SessionLimits(max_frame_bytes=1024), Http())
    assert caught.value.status == status


# ------------------------------------------------------------------ the answer


async def test_a_picture_that_the_model_has_no_time_for_is_refused_in_words() -> None:
    world = new_world(batching={"prepare_timeout_s": 0.01})
    world.analyzer.gate = asyncio.Event()  # never opens
    with pytest.raises(PictureRefused) as caught:
        await flown(SingleFrame(b"picture", View(), "person"), world.service)
    await end_calls(world.service)
    status, code, message = refusal(caught)
    assert (status, code) == (503, "OVERLOADED")
    assert "try again" in message


async def landed(outcome: FrameOutcome | AnalysisFailed | None) -> Flight:
    source = SingleFrame(b"x", View(), "person")
    request = FrameRequest(b"x", View())
    return Flight(
        source, source, Frame(0, 0, 0, b"x"), request, "person", 10.0, 10.005, outcome=outcome
    )


def result(payload: bytes, media_type: str) -> FrameResult:
    return FrameResult(payload, media_type, 4, 3, ((0, 0.75), (1, 0.25)), b"thumb", STAGES)


META: dict[str, Any] = {
    "mode": "person",
    "width": 4,
    "height": 3,
    "stages_ms": {"queue": 5.0, **STAGES},
    "classes": [{"id": 1, "label": "person", "share": 0.25}],
}


async def test_a_payload_is_the_body_and_its_metadata_a_header(world: World) -> None:
    response = answer(await landed(result(b"a mask", "image/png")), world.service)
    assert (response.status_code, response.body) == (200, b"a mask")
    assert response.headers["content-type"] == "image/png"
    assert json.loads(response.headers["x-segstream-meta"]) == META


async def test_without_a_payload_the_metadata_is_the_body(world: World) -> None:
    response = answer(await landed(result(b"", "")), world.service)
    assert response.headers["content-type"] == "application/json"
    assert json.loads(bytes(response.body)) == META


@pytest.mark.parametrize(
    ("outcome", "status", "code", "words"),
    [
        (FrameFailure("FRAME_REJECTED", "not a picture"), 422, "FRAME_REJECTED", "not a picture"),
        (FrameFailure("INFERENCE_FAILED", "secret"), 503, "INFERENCE_FAILED", "try again"),
        (AnalysisFailed("ActorDiedError: secret"), 503, "INFERENCE_FAILED", "try again"),
        (AnalysisFailed("secret", unavailable=True), 503, "INFERENCE_FAILED", "try again"),
        (None, 503, "INFERENCE_FAILED", "try again"),
    ],
)
async def test_no_result_is_a_refusal_that_leaks_nothing(
    world: World,
    outcome: FrameOutcome | AnalysisFailed | None,
    status: int,
    code: str,
    words: str,
) -> None:
    with pytest.raises(PictureRefused, match=words) as caught:
        answer(await landed(outcome), world.service)
    assert refusal(caught)[:2] == (status, code)
    assert "secret" not in str(caught.value)


def test_the_published_parameters_are_the_settings_of_a_view() -> None:
    published = {parameter["name"]: parameter for parameter in OPENAPI["parameters"]}
    assert set(published) == {"mode", *View.model_fields}
    assert published["output"]["schema"]["default"] == "mask"
