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


def encoded(said: Said) -> str | bytes:
    """The message that goes to the client."""
    return encode_result(said) if isinstance(said, Result) else encode_text(said)


def kind_of(said: Said) -> str:
    """The ``type`` under which it is counted."""
    return RESULT if isinstance(said, Result) else type_of(type(said))


def size_of(message: str | bytes) -> int:
    """Bytes of a message on the wire; ASCII text, which nearly all is, is not encoded to count."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
