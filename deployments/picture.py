"""``POST /api/segment``: what its query may say, how it answers, how it refuses.

The query takes ``mode`` and every setting of ``update_viz`` (lists with
commas); the body is the picture, whatever its declared media type. A refusal
has a status and the error codes of the stream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from deployments.body import BodyTooBig, ClientLeft, read_body
from ingress.dispatch.flight import Flight
from ingress.service import Service
from ingress.session.dialects import background_free
from ingress.session.single import SingleFrame
from ingress.settings import Http, SessionLimits
from ingress.wire.explain import explain, nearest
from ingress.wire.words import ErrorCode
from models.view import UnknownClass, View
from models.work import FrameFailure, FrameResult

_MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")
_CLASS_ID = re.compile(r"[0-9]{1,9}").fullmatch  # int() raises at some thousand digits
_CLIENT_CLOSED = 499  # nginx's status for a client that left; nobody reads it

Parameter = dict[str, Any]


class PictureRefused(Exception):
    """Why a picture got no mask; the words are for the client."""

    def __init__(self, status: int, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> JSONResponse:
        error = {"code": self.code, "message": str(self)}
        return JSONResponse({"error": error}, status_code=self.status)


def read_query(query: Mapping[str, str], service: Service) -> tuple[str, View]:
    """The mode and the view that the query asks for; raises PictureRefused."""
    settings: dict[str, Any] = dict(query)
    mode = settings.pop("mode", service.settings.default_mode)
    if mode not in service.modes:
        hint = nearest(mode, service.modes) or f"; known are {', '.join(service.modes)}"
        raise PictureRefused(404, ErrorCode.INVALID_MODE, f"mode: no such mode{hint}")
    class_filter = settings.pop("class_filter", None)
    settings.setdefault("output", "mask")
    try:
        view = View.model_validate_strings(settings)
        if class_filter is not None:
            # pydantic's reading of strings knows no lists; what is no number it refuses itself.
            ids = [int(part) if _CLASS_ID(part) else part for part in class_filter.split(",")]
            view = view.updated({"class_filter": ids}, len(service.modes[mode].labels))
    except ValidationError as error:
        raise PictureRefused(422, ErrorCode.VIZ_UPDATE_FAILED, explain(error, View)) from None
    except UnknownClass as error:
        raise PictureRefused(422, ErrorCode.VIZ_UPDATE_FAILED, str(error)) from None
    return mode, view


async def read_picture(request: Request, limits: SessionLimits, http: Http) -> bytes:
    """The picture in the body; raises PictureRefused, and Refused where it comes too slowly."""
    try:
        picture = await read_body(request, limits.max_frame_bytes, http)
    except BodyTooBig:
        why = f"the picture is too big; at most {limits.max_frame_bytes} bytes are taken"
        raise PictureRefused(413, ErrorCode.FRAME_REJECTED, why) from None
    except ClientLeft:
        raise PictureRefused(_CLIENT_CLOSED, ErrorCode.BAD_MESSAGE, "the client left") from None
    if not picture:
        why = "no picture; send a JPEG, PNG or WebP as the body"
        raise PictureRefused(400, ErrorCode.FRAME_REJECTED, why)
    return picture


async def flown(shot: SingleFrame, service: Service) -> Flight:
    """The flight of ``shot`` once it landed; raises PictureRefused where that took too long."""
    try:
        return await shot.flight(service)
    except TimeoutError:
        why = "the model had no time for this picture; try again in a moment"
        raise PictureRefused(503, ErrorCode.OVERLOADED, why) from None


def answer(flight: Flight, service: Service) -> Response:
    """The response for a flight that landed; raises PictureRefused where it got no result."""
    match flight.outcome:
        case FrameResult() as result:
            return _result(result, flight, service)
        case FrameFailure("FRAME_REJECTED" | "RESULT_TOO_LARGE" as code, message):
            raise PictureRefused(422, ErrorCode(code), message)
        case _:
            why = "the model gave no answer; try again"
            raise PictureRefused(503, ErrorCode.INFERENCE_FAILED, why)


def _result(result: FrameResult, flight: Flight, service: Service) -> Response:
    mode = service.modes[flight.mode]
    meta = {
        "mode": mode.name,
        "width": result.width,
        "height": result.height,
        "stages_ms": {"queue": flight.queue_ms, **result.stages_ms},
        "classes": [found.model_dump() for found in background_free(result, mode)],
    }
    if not result.payload:
        return JSONResponse(meta)
    headers = {"x-segstream-meta": json.dumps(meta)}
    return Response(result.payload, media_type=result.media_type, headers=headers)


def _parameters() -> list[Parameter]:
    """The query parameters in OpenAPI's words, from the schema of ``View``."""
    schemas: Mapping[str, Any] = View.model_json_schema()["properties"]
    settings: list[Parameter] = [
        {"name": name, "in": "query", "schema": {**schema, "default": "mask"}}
        if name == "output"
        else {"name": name, "in": "query", "schema": schema, "style": "form", "explode": False}
        for name, schema in schemas.items()
    ]
    mode = {"name": "mode", "in": "query", "schema": {"type": "string"}}
    return [mode, *settings]


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ERROR = {
    "description": "Refused: what was wrong, what is allowed.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
OPENAPI: dict[str, Any] = {
    "parameters": _parameters(),
    "requestBody": {"required": True, "content": dict.fromkeys(_MEDIA_TYPES, _BINARY)},
    "responses": {
        "200": {
            "description": "The mask, overlay or matte; with output=none, its metadata alone.",
            "content": {
                **dict.fromkeys(_MEDIA_TYPES, _BINARY),
                "application/json": {"schema": {"type": "object"}},
            },
        },
        **{str(status): _ERROR for status in (400, 401, 403, 404, 408, 413, 422, 429, 503)},
    },
}
