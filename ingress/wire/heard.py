"""What a client sent becomes what it said, in one step: a ``Frame`` or a message.

A binary message is a frame of the v1 dialect. Text is everything else, and the frames of
the plain dialect, whose pictures come out of their base64 here. What is too long to be
read is refused unread.
"""

from __future__ import annotations

from ingress.settings import SessionLimits
from ingress.wire.pictures import Frame, parse_frame, plain_image
from ingress.wire.requests import ClientMessage, PlainFrame
from ingress.wire.text import parse_text
from ingress.wire.words import SUBPROTOCOL, BadMessage, Dialect


def heard(
    message: str | bytes, dialect: Dialect, limits: SessionLimits, *, plain_seq: int = 0
) -> Frame | ClientMessage:
    """What ``message`` says; ``plain_seq`` numbers a plain frame, which brings no number.

    Raises:
        BadMessage: it cannot be understood, or is too long.
    """
    if isinstance(message, str):
        return _text(message, dialect, limits, plain_seq)
    if dialect is Dialect.PLAIN:
        raise BadMessage(
            "a binary message; this connection speaks the plain dialect, which is text: "
            f"open it with the subprotocol {SUBPROTOCOL} to send binary frames"
        )
    return parse_frame(message)


def _text(
    text: str, dialect: Dialect, limits: SessionLimits, plain_seq: int
) -> Frame | ClientMessage:
    plain = dialect is Dialect.PLAIN
    limit = limits.plain_message_bytes if plain else limits.max_control_bytes
    if len(text) > limit:
        raise BadMessage(f"a text message of {len(text)} characters; at most {limit} are taken")
    message = parse_text(text, dialect)
    if isinstance(message, PlainFrame):
        return Frame(plain_seq, 0, 0, plain_image(message), message.timestamp)
    return message
