"""What the server says becomes what it sends, in one step: the counterpart of ``heard``.

A ``Result`` is binary, everything else is text. A long payload becomes base64 in slices.
"""

from __future__ import annotations

from typing import TypeAlias

from ingress.wire.pictures import PlainResult, Result, encode_result
from ingress.wire.replies import Segmentation, ServerMessage
from ingress.wire.slices import to_base64
from ingress.wire.text import encode_text, type_of

Said: TypeAlias = ServerMessage | Result | PlainResult

_DATA = '"data":""'

RESULT = "result"  # the binary message's name, which has no ``type`` in it


async def encoded(said: Said | str | bytes) -> str | bytes:
    """The message that goes to the client; one that was made before stays as it is."""
    match said:
        case str() | bytes():
            return said
        case Result():
            return encode_result(said)
        case PlainResult():
            return await _segmentation(said)
    return encode_text(said)


async def _segmentation(said: PlainResult) -> str:
    """The JSON is written around the payload, which needs no escapes."""
    empty = Segmentation(timestamp=said.timestamp, data="", metadata=said.metadata)
    head, field, tail = encode_text(empty).partition(_DATA)
    return "".join((head, field[:-1], *await to_base64(said.payload), '"', tail))


def kind_of(kind: type[Said]) -> str:
    """The ``type`` under which messages of that kind are counted."""
    if issubclass(kind, PlainResult):
        return type_of(Segmentation)
    return RESULT if issubclass(kind, Result) else type_of(kind)


def size_of(message: str | bytes) -> int:
    """Bytes of a message on the wire; ASCII text, which nearly all is, is not encoded to count."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
