"""What the server says in text: its messages, declared once.

Each is a JSON object told apart by ``type``, encoded (``ingress.wire.text``) and published
(docs/asyncapi.json) from these declarations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from ingress.wire.words import Dialect, DropCause, ErrorCode, Number, RequestId


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
