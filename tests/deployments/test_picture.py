"""``POST /api/segment``: its query, its body, its answers and its refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import TaskCancelledError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message

from deployments.picture import OPENAPI, PictureRefused, answer, flown, read_body, read_query
from ingress.dispatch.flight import AnalysisFailed, Flight
from ingress.session.single import SingleFrame
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


class Upload:
    """A request whose body comes in ``chunks``; counts those that were read."""

    def __init__(self, *chunks: bytes, length: int | None = None, leaves: bool = False) -> None:
        self.read = 0
        self._messages = self._coming(chunks, leaves)
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.request = Request({"type": "http", "headers": headers}, self._receive)

    def _coming(self, chunks: tuple[bytes, ...], leaves: bool) -> Iterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.disconnect" if leaves else "http.request"}

    async def _receive(self) -> Message:
        self.read += 1
        return next(self._messages)


async def test_a_body_is_put_together_from_its_chunks() -> None:
    assert await read_body(Upload(b"one ", b"picture").request, 11) == b"one picture"


async def test_a_body_that_is_too_big_is_read_to_its_end_so_that_the_client_hears_why() -> None:
    upload = Upload(*[b"x" * 10] * 10, length=100)
    with pytest.raises(PictureRefused) as caught:
        await read_body(upload.request, 99)
    assert refusal(caught)[:2] == (413, "FRAME_REJECTED")
    assert "at most 99 bytes" in str(caught.value)
    assert upload.read == 11, "ten chunks and the end"


async def test_a_body_that_says_it_is_far_too_big_is_not_read() -> None:
    upload = Upload(b"x" * 100, length=101)
    with pytest.raises(PictureRefused) as caught:
        await read_body(upload.request, 25)
    assert caught.value.status == 413
    assert upload.read == 0


@pytest.mark.parametrize("length", [None, 5])  # chunked, and one that lies
async def test_a_body_is_read_no_further_than_four_times_the_limit(length: int | None) -> None:
    upload = Upload(*[b"x" * 10] * 100, length=length)
    with pytest.raises(PictureRefused) as caught:
        await read_body(upload.request, 25)
    assert caught.value.status == 413
    assert upload.read == 11, "the chunk that passes 100 bytes is the last"


async def test_no_body_is_refused_with_advice() -> None:
    with pytest.raises(PictureRefused, match="send a JPEG, PNG or WebP") as caught:
        await read_body(Upload().request, 100)
    assert caught.value.status == 400


async def test_a_client_that_leaves_in_its_upload_is_no_error_of_ours() -> None:
    with pytest.raises(PictureRefused) as caught:
        await read_body(Upload(b"half a pic", leaves=True).request, 100)
    assert caught.value.status == 499


async def test_a_proxy_that_gives_up_in_an_upload_is_no_error_of_ours() -> None:
    async def receive() -> Message:
        raise TaskCancelledError

    with pytest.raises(PictureRefused) as caught:
        await read_body(Request({"type": "http", "headers": []}, receive), 100)
    assert caught.value.status == 499


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
