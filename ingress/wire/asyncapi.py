"""The AsyncAPI 3.0 document of both dialects, generated from the declarations.

``python -m ingress.wire.asyncapi > docs/asyncapi.json``; a test keeps the two equal.
Nothing is described here that is declared elsewhere: messages come from
``protocol``, binary headers from the fields that pack them, the settings of
``update_viz`` from ``models.view.View``, close codes from ``disconnects``.

The document speaks from the server's side: it *receives* what clients send.
AsyncAPI has no words for a binary header or a close code; both are given as
``x-`` extensions, which the specification allows.
"""

from __future__ import annotations

import json
import struct
import sys
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ingress.disconnects import CODE_RANGES, DISCONNECTS
from ingress.wire.pictures import FRAME_FIELDS, RESULT_FIELDS, HeaderField, ResultMeta
from ingress.wire.replies import (
    SERVER_MESSAGES,
    ModeChanged,
    Segmentation,
    ServerPong,
    Stats,
    VizUpdated,
    Welcome,
)
from ingress.wire.requests import (
    CLIENT_MESSAGES,
    ChangeMode,
    ClientMessage,
    GetStats,
    Hello,
    Ping,
    PlainFrame,
    SubscribeStats,
    UpdateViz,
)
from ingress.wire.text import type_of
from ingress.wire.words import PLAIN_SUBPROTOCOL, SUBPROTOCOL, TICKET_SUBPROTOCOL, Dialect
from models.view import View

Json: TypeAlias = dict[str, Any]

_BINARY = {
    "Frame": (
        "A picture, still encoded.",
        FRAME_FIELDS,
        "The JPEG, PNG or WebP image.",
    ),
    "Result": (
        "The answer to a frame.",
        RESULT_FIELDS,
        "meta_bytes of JSON (ResultMeta), then the payload, whose media type the metadata names.",
    ),
}
_REPLIES: dict[type[ClientMessage], type[BaseModel]] = {
    Hello: Welcome,
    PlainFrame: Segmentation,
    ChangeMode: ModeChanged,
    UpdateViz: VizUpdated,
    GetStats: Stats,
    SubscribeStats: Stats,
    Ping: ServerPong,
}
# Fields that protocol.py leaves open, because models.view checks them.
_VIEWS = (("UpdateViz", "settings"), ("VizUpdated", "settings"), ("Welcome", "viz"))

_DIALECTS = {
    Dialect.PLAIN: (
        f"No subprotocol, or {PLAIN_SUBPROTOCOL}: text messages only, pictures in base64. Where "
        "the server wants it, the handshake signs in: by Authorization: Bearer, or by a ticket of "
        f"POST /api/ticket as one more subprotocol, {TICKET_SUBPROTOCOL}…"
    ),
    Dialect.V1: (
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}. Text messages are control, binary ones pictures. "
        "`hello` comes first. Results not yet acknowledged are at most `max_in_flight`."
    ),
}


def document() -> Json:
    """The whole document, ready for ``json.dumps``."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "SegStream",
            "version": "1",
            "description": "Real-time segmentation of live video over one WebSocket.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {dialect.value: _channel(dialect) for dialect in Dialect},
        "operations": {
            name: operation
            for dialect in Dialect
            for name, operation in _operations(dialect).items()
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
        "x-close-codes": _close_codes(),
    }


def _texts(dialect: Dialect) -> tuple[type[BaseModel], ...]:
    return (*CLIENT_MESSAGES[dialect], *SERVER_MESSAGES[dialect])


def _binaries(dialect: Dialect) -> tuple[str, ...]:
    return tuple(_BINARY) if dialect is Dialect.V1 else ()


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _channel(dialect: Dialect) -> Json:
    names = [model.__name__ for model in _texts(dialect)] + list(_binaries(dialect))
    protocol = {"Sec-WebSocket-Protocol": {"type": "string", "const": SUBPROTOCOL}}
    required = list(protocol) if dialect is Dialect.V1 else []
    return {
        "address": "/ws",
        "description": _DIALECTS[dialect],
        "messages": {name: _ref("messages", name) for name in names},
        "bindings": {
            "ws": {
                "method": "GET",
                "headers": {
                    "type": "object",
                    "properties": protocol if required else {},
                    "required": required,
                },
            }
        },
    }


def _in_channel(dialect: Dialect, name: str) -> Json:
    return {"$ref": f"#/channels/{dialect}/messages/{name}"}


def _operations(dialect: Dialect) -> Json:
    channel = {"$ref": f"#/channels/{dialect}"}
    operations: Json = {}
    for model in CLIENT_MESSAGES[dialect]:
        operation: Json = {
            "action": "receive",
            "channel": channel,
            "messages": [_in_channel(dialect, model.__name__)],
        }
        answers = [_in_channel(dialect, name) for name in _answers(model)]
        if answers:
            operation["reply"] = {"channel": channel, "messages": answers}
        operations[f"{dialect}.{type_of(model)}"] = operation
    if dialect is Dialect.V1:
        operations[f"{dialect}.frame"] = {
            "action": "receive",
            "channel": channel,
            "messages": [_in_channel(dialect, "Frame")],
            "reply": {
                "channel": channel,
                "messages": [_in_channel(dialect, n) for n in ("Result", "Error", "Dropped")],
            },
        }
    sent = [model.__name__ for model in SERVER_MESSAGES[dialect]]
    sent += [name for name in _binaries(dialect) if name == "Result"]
    operations[f"{dialect}.send"] = {
        "action": "send",
        "channel": channel,
        "messages": [_in_channel(dialect, name) for name in sent],
    }
    return operations


def _answers(model: type[ClientMessage]) -> tuple[str, ...]:
    reply = _REPLIES.get(model)
    return (reply.__name__, "Error") if reply else ()


def _messages() -> Json:
    texts = {model for dialect in Dialect for model in _texts(dialect)}
    messages = {
        model.__name__: {
            "name": type_of(model),
            "summary": _first_line(model),
            "contentType": "application/json",
            "payload": _ref("schemas", model.__name__),
        }
        for model in sorted(texts, key=lambda model: model.__name__)
    }
    for name, (summary, fields, body) in _BINARY.items():
        messages[name] = {
            "name": name.lower(),
            "summary": summary,
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary"},
            "x-binary": {"byte-order": "little-endian", "header": _header(fields), "then": body},
        }
    return messages


def _first_line(model: type[BaseModel]) -> str:
    return _markdown((model.__doc__ or "").partition("\n")[0])


def _markdown(text: str) -> str:
    """Our docstrings' reStructuredText, as the CommonMark that AsyncAPI wants."""
    return text.replace("``", "`")


def _header(fields: tuple[HeaderField, ...]) -> list[Json]:
    """Each field with its offset and size in bytes."""
    described, offset = [], 0
    for field in fields:
        size = struct.calcsize(f"<{field.code}")
        described.append(
            {
                "name": field.name,
                "type": f"u{size * 8}",
                "offset": offset,
                "description": field.meaning,
            }
        )
        offset += size
    return described


def _schemas() -> Json:
    """JSON Schemas of every message, of the metadata of a result, and of the view."""
    models: set[type[BaseModel]] = {ResultMeta, View}
    models.update(model for dialect in Dialect for model in _texts(dialect))
    wanted: list[tuple[type[BaseModel], Literal["validation", "serialization"]]]
    wanted = [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)]
    _, found = models_json_schema(
        wanted,
        ref_template="#/components/schemas/{model}",
    )
    schemas: Json = found["$defs"]
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = _markdown(schema["description"])
    for name, field in _VIEWS:
        schemas[name]["properties"][field] = _ref("schemas", View.__name__)
    return dict(sorted(schemas.items()))


def _close_codes() -> Json:
    return {
        "reasons": [
            {
                "reason": row.name,
                "code": row.code,
                "initiator": row.initiator,
                "advice": row.advice,
                "resumable": row.resumable,
                "description": row.seen,
            }
            for row in DISCONNECTS.values()
        ],
        "ranges": [{"first": r.first, "last": r.last, "advice": r.advice} for r in CODE_RANGES],
    }


def text() -> str:
    """docs/asyncapi.json as it is committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
