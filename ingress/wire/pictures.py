"""Pictures on the wire: binary in the v1 dialect, base64 in the plain one.

A binary message is a fixed little-endian header, then the image; a result has its
metadata as JSON in between. ``parse_*`` turn what came from a peer into a value or
raise ``BadMessage``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingress.wire.explain import explain
from ingress.wire.requests import PlainFrame
from ingress.wire.slices import from_base64
from ingress.wire.words import IMAGE_TYPES, VERSION, BadMessage, ErrorCode, Number


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a client, still encoded.

    Attributes:
        seq: grows strictly within a session; the client's in v1, counted here in plain.
        ack: the highest result seq that the client has fully received; 0 in plain.
        captured_us: the client's clock, microseconds, echoed; 0 in plain.
        image: JPEG, PNG or WebP bytes, not yet looked at.
        timestamp: the plain dialect's number, echoed as it came.
    """

    seq: int
    ack: int
    captured_us: int
    image: bytes
    timestamp: Number | None = None


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One field of a binary header: ``code`` is its format in ``struct``."""

    name: str
    code: Literal["B", "H", "I", "Q"]
    meaning: str


_VERSION_FIELD = HeaderField("version", "B", f"Always {VERSION}.")
_FLAGS_FIELD = HeaderField("flags", "H", "Reserved; sent as 0, not read.")
_KIND_FRAME, _KIND_RESULT = 1, 2

FRAME_FIELDS = (
    _VERSION_FIELD,
    HeaderField("kind", "B", f"Always {_KIND_FRAME}."),
    _FLAGS_FIELD,
    HeaderField("seq", "I", "The client's number of the frame; grows strictly."),
    HeaderField("ack", "I", "Highest seq of a result fully received; 0 before the first."),
    HeaderField("captured_us", "Q", "The client's clock in microseconds; echoed, not read."),
)
RESULT_FIELDS = (
    _VERSION_FIELD,
    HeaderField("kind", "B", f"Always {_KIND_RESULT}."),
    _FLAGS_FIELD,
    HeaderField("seq", "I", "The server's number of the result; grows strictly from 1."),
    HeaderField("frame_seq", "I", "The frame that this answers."),
    HeaderField("meta_bytes", "I", "Length of the JSON metadata that follows the header."),
    HeaderField("captured_us", "Q", "As it came with the frame."),
)


def layout(fields: tuple[HeaderField, ...]) -> struct.Struct:
    """The packed form of a header: little-endian, no padding."""
    return struct.Struct("<" + "".join(field.code for field in fields))


_FRAME_HEADER = layout(FRAME_FIELDS)
_RESULT_HEADER = layout(RESULT_FIELDS)
FRAME_HEADER_BYTES = _FRAME_HEADER.size
RESULT_HEADER_BYTES = _RESULT_HEADER.size


def parse_frame(message: bytes) -> Frame:
    """The frame in a binary v1 message.

    Raises:
        BadMessage: a short header, another version, another kind.
    """
    if len(message) < FRAME_HEADER_BYTES:
        raise BadMessage(
            f"frame: {len(message)} bytes; a frame starts with a header of {FRAME_HEADER_BYTES}"
        )
    version, kind, _flags, seq, ack, captured_us = _FRAME_HEADER.unpack_from(message)
    if version != VERSION:
        raise BadMessage(f"frame: version {version}; this server speaks version {VERSION}")
    if kind != _KIND_FRAME:
        raise BadMessage(f"frame: kind {kind}; a client sends kind {_KIND_FRAME}")
    return Frame(seq, ack, captured_us, message[FRAME_HEADER_BYTES:])


def encode_frame(frame: Frame) -> bytes:
    """The binary v1 message of ``frame``: what a client sends."""
    header = _FRAME_HEADER.pack(VERSION, _KIND_FRAME, 0, frame.seq, frame.ack, frame.captured_us)
    return header + frame.image


async def plain_image(message: PlainFrame) -> bytes:
    """The encoded picture in a plain ``frame`` message.

    Raises:
        BadMessage: not base64, empty, or a data: URL of something else.
    """
    data = message.data
    if data.startswith("data:"):
        head, comma, data = data.partition(",")
        media_type, _, encoding = head[len("data:") :].partition(";")
        if not comma or encoding != "base64" or media_type not in IMAGE_TYPES:
            raise _rejected(
                message, f"a data: URL must start with data:TYPE;base64, and TYPE be one of "
                f"{', '.join(IMAGE_TYPES)}"
            )  # fmt: skip
    try:
        image = await from_base64(data)
    except ValueError:
        raise _rejected(message, "is not base64 (RFC 4648, with padding)") from None
    if not image:
        raise _rejected(message, "is empty; send a JPEG, PNG or WebP picture")
    return image


def _rejected(message: PlainFrame, why: str) -> BadMessage:
    return BadMessage(
        f"data: {why}",
        ErrorCode.FRAME_REJECTED,
        reply_to=message.id,
        timestamp=message.timestamp,
    )


# ------------------------------------------------------------------ server to client


class ClassShare(BaseModel):
    """How much of a frame one class covers."""

    model_config = ConfigDict(frozen=True)

    id: int
    label: str
    share: float = Field(ge=0, le=1)


class ResultMeta(BaseModel):
    """What a result says beside its payload.

    ``width`` and ``height`` are the payload's, in pixels; ``stages_ms`` has
    queue, decode, inference, render and encode; ``classes`` are the classes
    found, without the background.
    """

    model_config = ConfigDict(frozen=True)

    mode: str
    width: int
    height: int
    media_type: str = Field(description="Of the payload; empty where there is none.")
    stages_ms: dict[str, float]
    batch: int = Field(description="Frames in the call that answered this one.")
    classes: tuple[ClassShare, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One answer of the v1 dialect; ``seq`` grows strictly within a session."""

    seq: int
    frame_seq: int
    captured_us: int
    meta: ResultMeta
    payload: bytes


@dataclass(frozen=True, slots=True)
class PlainResult:
    """One answer of the plain dialect; its payload becomes base64 when it is sent."""

    timestamp: Number | None
    payload: bytes
    metadata: dict[str, Any]


def encode_result(result: Result) -> bytes:
    """The binary v1 message of ``result``."""
    meta = result.meta.model_dump_json().encode()
    header = _RESULT_HEADER.pack(
        VERSION, _KIND_RESULT, 0, result.seq, result.frame_seq, len(meta), result.captured_us
    )
    return b"".join((header, meta, result.payload))


def parse_result(message: bytes) -> Result:
    """What a client reads from a binary message; raises BadMessage where it is no result."""
    if len(message) < RESULT_HEADER_BYTES:
        raise BadMessage(
            f"result: {len(message)} bytes; the header alone has {RESULT_HEADER_BYTES}"
        )
    version, kind, _flags, seq, frame_seq, meta_bytes, captured_us = _RESULT_HEADER.unpack_from(
        message
    )
    if (version, kind) != (VERSION, _KIND_RESULT):
        raise BadMessage(
            f"result: version {version}, kind {kind}; expected {VERSION}, {_KIND_RESULT}"
        )
    body = RESULT_HEADER_BYTES + meta_bytes
    if body > len(message):
        raise BadMessage("result: the metadata runs past the end of the message")
    try:
        meta = ResultMeta.model_validate_json(message[RESULT_HEADER_BYTES:body])
    except ValidationError as error:
        raise BadMessage(f"result: {explain(error)}") from None
    return Result(seq, frame_seq, captured_us, meta, message[body:])
