"""The wire: every message of both dialects, and nothing about connections.

Text messages are JSON objects told apart by ``type``; they are declared once,
as frozen models, and parsed, encoded and published (docs/asyncapi.json) from
those declarations. Pictures of the v1 dialect are binary: a fixed
little-endian header, then the image. ``parse_*`` turn what came from a peer
into a message or raise ``BadMessage``; nothing else here raises on input.

Two dialects, chosen by ``Sec-WebSocket-Protocol``:

- plain (none): the original client's. Text only, pictures in base64.
- v1 (``segstream.v1``): JSON control, binary pictures, credit.

Unknown fields of a message are ignored, so that newer clients can talk to
older servers; unknown keys of *settings* are refused by ``models.view``,
because a setting that silently does nothing is worse than an error.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from ingress.explain import explain, nearest

SUBPROTOCOL = "segstream.v1"
VERSION = 1
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")


class Dialect(StrEnum):
    """Which of the two languages a connection speaks."""

    PLAIN = "plain"
    V1 = "v1"


class ErrorCode(StrEnum):
    """The closed set of ``code`` in an error message; the first five are the original's."""

    INFERENCE_FAILED = "INFERENCE_FAILED"
    INVALID_MODE = "INVALID_MODE"
    MODE_CHANGE_FAILED = "MODE_CHANGE_FAILED"
    VIZ_UPDATE_FAILED = "VIZ_UPDATE_FAILED"
    STATS_FAILED = "STATS_FAILED"
    BAD_MESSAGE = "BAD_MESSAGE"
    FRAME_REJECTED = "FRAME_REJECTED"
    FRAME_DROPPED = "FRAME_DROPPED"
    RATE_LIMITED = "RATE_LIMITED"
    UNAUTHORIZED = "UNAUTHORIZED"
    OVERLOADED = "OVERLOADED"


class DropCause(StrEnum):
    """Why a frame was let go unanswered by a picture; the label of ``frames_dropped_total``."""

    SUPERSEDED = "superseded"
    NO_CREDIT = "no_credit"
    STALE = "stale"
    MODE_UNAVAILABLE = "mode_unavailable"
    DISCONNECTED = "disconnected"


class BadMessage(Exception):
    """What a peer sent cannot be understood; the words are for that peer."""

    def __init__(
        self,
        message: str,
        code: ErrorCode = ErrorCode.BAD_MESSAGE,
        *,
        reply_to: str | int | None = None,
        frame_seq: int | None = None,
        timestamp: Number | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reply_to = reply_to
        self.frame_seq = frame_seq
        self.timestamp = timestamp


# ------------------------------------------------------------------ text, client to server

Number: TypeAlias = StrictInt | Annotated[StrictFloat, AllowInfNan(False)]
RequestId: TypeAlias = Annotated[str, Field(max_length=64)] | StrictInt


class ClientMessage(BaseModel):
    """A text message that a client sends; ``id``, where given, comes back as ``reply_to``."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: RequestId | None = None


class PlainFrame(ClientMessage):
    """A picture in the plain dialect, base64 or a data: URL."""

    type: Literal["frame"]
    data: str = Field(description="Base64 JPEG, PNG or WebP, or a data: URL of one.")
    timestamp: Number | None = Field(None, description="Any number; echoed in the answer.")


class ChangeMode(ClientMessage):
    """Ask for another mode; frames go on in the old one until ``mode_changed``."""

    type: Literal["change_mode"]
    model_mode: str = Field(max_length=64)


class UpdateViz(ClientMessage):
    """Lay settings over the view in force, all of them or none."""

    type: Literal["update_viz"]
    settings: dict[str, Any]


class GetStats(ClientMessage):
    """Ask for statistics of this session, its scene and the server."""

    type: Literal["get_stats"]


class SubscribeStats(ClientMessage):
    """Ask for ``stats`` at an interval; 0 ends it."""

    type: Literal["subscribe_stats"]
    interval_s: Number = Field(ge=0, le=3600)


class Ping(ClientMessage):
    """A sign of life that asks for one; ``t`` comes back in the ``pong``."""

    type: Literal["ping"]
    t: Number


class Pong(ClientMessage):
    """The answer to a ``ping`` of the server."""

    type: Literal["pong"]
    t: Number


class ResumeRequest(BaseModel):
    """Which session a returning client wants back."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    session: str = Field(max_length=64)
    token: str = Field(max_length=128)
    last_seq: int = Field(ge=0, description="Highest result seq fully received; 0 before any.")
    last_control: int = Field(ge=0, description="Highest control_seq received; 0 before any.")


class Hello(ClientMessage):
    """The first message of a v1 client."""

    type: Literal["hello"]
    token: str | None = Field(None, max_length=4096)
    client: str | None = Field(None, max_length=200, description="Name and version, for the log.")
    resume: ResumeRequest | None = None


class Ack(ClientMessage):
    """Results up to ``seq`` are fully received; sent when no frame is due to carry it."""

    type: Literal["ack"]
    seq: int = Field(ge=0, le=0xFFFFFFFF)


_CONTROL = ChangeMode | UpdateViz | GetStats | SubscribeStats | Ping | Pong
PlainMessage: TypeAlias = PlainFrame | _CONTROL
V1Message: TypeAlias = Hello | Ack | _CONTROL

CLIENT_MESSAGES: Mapping[Dialect, tuple[type[ClientMessage], ...]] = {
    Dialect.PLAIN: (PlainFrame, ChangeMode, UpdateViz, GetStats, SubscribeStats, Ping, Pong),
    Dialect.V1: (Hello, Ack, ChangeMode, UpdateViz, GetStats, SubscribeStats, Ping, Pong),
}


def type_of(message: type[BaseModel]) -> str:
    """The ``type`` that tells this message from the others."""
    name: str = message.model_fields["type"].annotation.__args__[0]  # type: ignore[union-attr]
    return name


_BY_TYPE = {
    dialect: {type_of(model): model for model in models}
    for dialect, models in CLIENT_MESSAGES.items()
}


class _Envelope(BaseModel):
    """What every text message shares; read first, so that an error can name its request."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str
    id: RequestId | None = None


def parse_text(text: str, dialect: Dialect) -> ClientMessage:
    """The message that ``text`` holds.

    Raises:
        BadMessage: not JSON, too deep, an unknown type, a field that is missing or wrong.
    """
    try:
        envelope = _Envelope.model_validate_json(text)
    except ValidationError as error:
        raise BadMessage(explain(error)) from None
    model = _BY_TYPE[dialect].get(envelope.type)
    if model is None:
        raise BadMessage(_unknown_type(envelope.type, dialect), reply_to=envelope.id)
    try:
        return model.model_validate({"type": envelope.type, "id": envelope.id, **_fields(envelope)})
    except ValidationError as error:
        raise BadMessage(
            f"{envelope.type}: {explain(error, model)}", reply_to=envelope.id
        ) from None


def _fields(envelope: _Envelope) -> dict[str, Any]:
    return envelope.__pydantic_extra__ or {}


def _unknown_type(name: str, dialect: Dialect) -> str:
    known = _BY_TYPE[dialect]
    hint = nearest(name, known) or f"; known are {', '.join(known)}"
    return f"type: unknown type in the {dialect} dialect{hint}"


# ------------------------------------------------------------------ pictures, client to server


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


def plain_image(message: PlainFrame) -> bytes:
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
        image = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
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


# ------------------------------------------------------------------ text, server to client


class ServerMessage(BaseModel):
    """A text message that the server sends; absent fields are left out, never null.

    ``control_seq`` numbers those that a resume may have to send again (``NUMBERED``).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    reply_to: RequestId | None = None
    control_seq: int | None = Field(
        None, description="v1: grows by one with each reply, error, stats and dropped of a session."
    )

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if value is not None}


class ModeInfo(BaseModel):
    """One mode as clients see it; ``labels[i]`` and ``palette[i]`` belong to class id ``i``."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    labels: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] = Field(description="RGB, 0 to 255.")
    input_size: tuple[int, int] = Field(description="Height and width of the network's input.")


class Connected(ServerMessage):
    """The first message to a plain client."""

    type: Literal["connected"] = "connected"
    status: Literal["ready"] = "ready"
    available_models: tuple[str, ...]
    class_labels: tuple[str, ...]
    current_model: str


class Welcome(ServerMessage):
    """The answer to ``hello``: the session, its limits and what it may ask for."""

    type: Literal["welcome"] = "welcome"
    session: str
    resume_token: str | None = Field(
        None, description="For the next resume; absent where the server keeps no sessions."
    )
    resumed: bool
    why: str | None = Field(None, description="Why a session was not resumed.")
    last_request: RequestId | None = Field(
        None,
        description="Resumed: the id of the newest request that was received; later ones "
        "were not, and may be sent again.",
    )
    heartbeat_s: float
    timeout_s: float
    max_in_flight: int
    max_frame_bytes: int
    max_frame_pixels: int
    modes: tuple[ModeInfo, ...]
    mode: str
    viz: dict[str, Any]
    retry_ms: tuple[int, int]


class Segmentation(ServerMessage):
    """A result in the plain dialect."""

    type: Literal["segmentation"] = "segmentation"
    timestamp: Number | None = None
    data: str = Field(description="Base64 of the payload; by default a JPEG overlay.")
    metadata: dict[str, Any]


class ModeChanged(ServerMessage):
    """The new mode serves from here on."""

    type: Literal["mode_changed"] = "mode_changed"
    model_mode: str
    class_labels: tuple[str, ...]


class VizUpdated(ServerMessage):
    """The settings now in force, all of them."""

    type: Literal["viz_updated"] = "viz_updated"
    settings: dict[str, Any]


class Stats(ServerMessage):
    """Statistics: the original four figures, then ``session``, ``scene`` and ``server``."""

    type: Literal["stats"] = "stats"
    avg_inference_ms: float
    min_inference_ms: float
    max_inference_ms: float
    avg_fps: float
    session: dict[str, Any]
    scene: dict[str, Any]
    server: dict[str, Any]


class Error(ServerMessage):
    """Something was refused or failed; ``recoverable: false`` is followed by a close."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    recoverable: bool = True
    frame_seq: int | None = Field(None, description="v1: the frame that this answers.")
    timestamp: Number | None = Field(None, description="plain: the frame that this answers.")


class Dropped(ServerMessage):
    """Frames that will get no result, by seq."""

    type: Literal["dropped"] = "dropped"
    frames: tuple[int, ...]
    cause: DropCause


class ServerPing(ServerMessage):
    """A sign of life that asks for one."""

    type: Literal["ping"] = "ping"
    t: Number


class ServerPong(ServerMessage):
    """The answer to a client's ``ping``."""

    type: Literal["pong"] = "pong"
    t: Number


class Bye(ServerMessage):
    """The server will close; when to come back, and whether the session is kept."""

    type: Literal["bye"] = "bye"
    reason: str
    retry_ms: tuple[int, int]
    resume: bool


SERVER_MESSAGES: Mapping[Dialect, tuple[type[ServerMessage], ...]] = {
    Dialect.PLAIN: (
        Connected, Segmentation, ModeChanged, VizUpdated, Stats, Error, ServerPong,
    ),
    Dialect.V1: (
        Welcome, ModeChanged, VizUpdated, Stats, Error, Dropped, ServerPing, ServerPong, Bye,
    ),
}  # fmt: skip

# The control lane of a session: what a returning client is sent again if it lacks it. The
# rest is about one connection: welcome, ping, pong, bye.
NUMBERED = frozenset({ModeChanged, VizUpdated, Stats, Error, Dropped})

_SERVER_UNION: TypeAdapter[ServerMessage] = TypeAdapter(
    Annotated[
        Connected
        | Welcome
        | Segmentation
        | ModeChanged
        | VizUpdated
        | Stats
        | Error
        | Dropped
        | ServerPing
        | ServerPong
        | Bye,
        Field(discriminator="type"),
    ]
)


def encode_text(message: BaseModel) -> str:
    """The JSON of a message of either side."""
    return message.model_dump_json(exclude_none=isinstance(message, ClientMessage))


def parse_server_text(text: str) -> ServerMessage:
    """What a client reads; raises BadMessage on anything that no server of this version sends."""
    try:
        return _SERVER_UNION.validate_json(text)
    except ValidationError as error:
        raise BadMessage(explain(error)) from None


# ------------------------------------------------------------------ pictures, server to client


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
