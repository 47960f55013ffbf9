"""Text messages to JSON and back, for both sides of the wire.

``parse_*`` turn what came from a peer into a message or raise ``BadMessage``; nothing
else here raises on input.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ingress.wire.explain import explain, nearest
from ingress.wire.replies import (
    Bye,
    Connected,
    Dropped,
    Error,
    ModeChanged,
    Segmentation,
    ServerMessage,
    ServerPing,
    ServerPong,
    Stats,
    VizUpdated,
    Welcome,
)
from ingress.wire.requests import CLIENT_MESSAGES, ClientMessage
from ingress.wire.words import BadMessage, Dialect, RequestId


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
