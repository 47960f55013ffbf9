"""What a client sent becomes what it said, in one step: a ``Frame`` or a message.

A binary message is a frame of the v1 dialect. Text is everything else, and the frames of
the plain dialect, whose pictures come out of their base64 here.

What is read costs no more than it weighs: what is too long is refused unread, and so is text of
more than ``MAX_VALUES`` values, which bounds keys, depth and complaints before anything is parsed.
Long text is a frame or nothing, so it is ASCII, and only a few of its characters are escapes; it
is read in slices, with turns of the loop between them.
"""

from __future__ import annotations

from ingress.settings import SessionLimits
from ingress.wire.pictures import Frame, parse_frame, plain_image
from ingress.wire.requests import ClientMessage, PlainFrame
from ingress.wire.slices import sliced
from ingress.wire.text import parse_text
from ingress.wire.words import SUBPROTOCOL, BadMessage, Dialect

MAX_VALUES = 1024  # commas and opening brackets of a text message; base64 has none
MAX_ESCAPES = 16  # one of so many characters; where each slash is escaped, one of 64 is


async def heard(
    message: str | bytes, dialect: Dialect, limits: SessionLimits, *, plain_seq: int = 0
) -> Frame | ClientMessage:
    """What ``message`` says; ``plain_seq`` numbers a plain frame, which brings no number.

    Raises:
        BadMessage: it cannot be understood, or is too long.
    """
    if isinstance(message, str):
        return await _text(message, dialect, limits, plain_seq)
    if dialect is Dialect.PLAIN:
        raise BadMessage(
            "a binary message; this connection speaks the plain dialect, which is text: "
            f"open it with the subprotocol {SUBPROTOCOL} to send binary frames"
        )
    return parse_frame(message)


async def _text(
    text: str, dialect: Dialect, limits: SessionLimits, plain_seq: int
) -> Frame | ClientMessage:
    plain = dialect is Dialect.PLAIN
    limit = limits.plain_message_bytes if plain else limits.max_control_bytes
    if len(text) > limit:
        raise BadMessage(f"a text message of {len(text)} characters; at most {limit} are taken")
    long = len(text) > limits.max_control_bytes
    if long and not text.isascii():
        raise BadMessage("a long text message with characters beyond ASCII; a frame is base64")
    values = escapes = 0
    async for part in sliced(text):
        values += sum(map(part.count, ",[{"))
        escapes += part.count("\\")
        if values > MAX_VALUES:
            raise BadMessage(f"a text message of many values; at most {MAX_VALUES} are taken")
        if long and escapes > len(text) // MAX_ESCAPES:
            raise BadMessage("a long text message made of escapes; a frame is base64")
    message = parse_text(text, dialect)
    if isinstance(message, PlainFrame):
        return Frame(plain_seq, 0, 0, await plain_image(message), message.timestamp)
    if long:
        raise BadMessage(
            f"a text message of {len(text)} characters; at most {limits.max_control_bytes} are "
            "taken that are no frame",
            reply_to=message.id,
        )
    return message
