"""What a client says in text: its messages, declared once.

Each is a JSON object told apart by ``type``. They are parsed (``ingress.wire.text``) and published
(docs/asyncapi.json) from these declarations. Unknown fields of a message are ignored, so that newer
clients can talk to older servers; unknown keys of *settings* are refused by ``models.view``,
because a setting that silently does nothing is worse than an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ingress.wire.words import Dialect, Number, RequestId


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
    settings: dict[str, Any] = Field(max_length=64)


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
    token: str | None = Field(
        None,
        max_length=4096,
        description="Signs in where that is wanted: a token or a ticket.",
    )
    client: str | None = Field(None, max_length=200, description="Name and version, for the log.")
    resume: ResumeRequest | None = None


class Ack(ClientMessage):
    """Results up to ``seq`` are fully received; sent when no frame is due to carry it."""

    type: Literal["ack"]
    seq: int = Field(ge=0, le=0xFFFFFFFF)


CLIENT_MESSAGES: Mapping[Dialect, tuple[type[ClientMessage], ...]] = {
    Dialect.PLAIN: (PlainFrame, ChangeMode, UpdateViz, GetStats, SubscribeStats, Ping, Pong),
    Dialect.V1: (Hello, Ack, ChangeMode, UpdateViz, GetStats, SubscribeStats, Ping, Pong),
}
