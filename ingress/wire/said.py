"""What the server says becomes what it sends, in one step: the counterpart of ``heard``.

A ``Result`` is binary, everything else is text.
"""

from __future__ import annotations

from typing import TypeAlias

from ingress.wire.pictures import Result, encode_result
from ingress.wire.replies import ServerMessage
from ingress.wire.text import encode_text, type_of

Said: TypeAlias = ServerMessage | Result

RESULT = "result"  # the binary message's name, which has no ``type`` in it


def encoded(said: Said | str | bytes) -> str | bytes:
    """The message that goes to the client; one that was made before stays as it is."""
    match said:
        case str() | bytes():
            return said
        case Result():
            return encode_result(said)
    return encode_text(said)


def kind_of(kind: type[Said]) -> str:
    """The ``type`` under which messages of that kind are counted."""
    return RESULT if issubclass(kind, Result) else type_of(kind)


def size_of(message: str | bytes) -> int:
    """Bytes of a message on the wire; ASCII text, which nearly all is, is not encoded to count."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
