"""What is said on a line: five messages, and the bytes of each.

A message is a kind, the number of its call, and what the table says of the kind. All of it is
plain data of types that are written down here, so whatever arrives is one of these messages or
``NotUnderstood``. Pictures are sent from where they lie, and copied once where they arrive.

| kind | said by | after the kind, 1 byte, and the number, 8 |
|---|---|---|
| 1 ``Call`` | who calls | mode: 1 byte of length, text; frames: 2 bytes of count, frames |
| 2 ``Cancel`` | who calls | |
| 3 ``Answer`` | who is called | 2 bytes of count, outcomes |
| 4 ``Refusal`` | who is called | why: text, to the end |
| 5 ``Leaving`` | who is called | |

| part | is |
|---|---|
| frame | 1 byte: 1 where it came alone; lengths of the view, 2 bytes, and of the picture, 4; the |
| | view as JSON; the picture |
| outcome | 1 byte: 0 before a result, else the place of a failure's code among its codes, from 1 |
| result | lengths of the media type, 1 byte, the payload and the thumbnail, 4 each; the count of |
| | classes, 2; width and height, 4 each; a double for each stage; then the media type, for each |
| | class its id, 2 bytes, and share, a double; the thumbnail; the payload |
| failure | length of the text, 4 bytes; milliseconds, a double; the text |

Integers are unsigned and big-endian, texts UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from models.view import View
from models.work import STAGES, FailureCode, FrameFailure, FrameOutcome, FrameRequest, FrameResult

Parts = Sequence[bytes]  # of one message, to be written one behind the other
Message = TypeVar("Message")

_CALL, _CANCEL, _ANSWER, _REFUSAL, _LEAVING = range(1, 6)
_FAILURE_CODES: tuple[FailureCode, ...] = get_args(FailureCode)
_STAGES = frozenset(STAGES)

_HEAD = struct.Struct(">BQ")
_MODE = struct.Struct(">B")
_COUNT = struct.Struct(">H")
_FRAME = struct.Struct(">BHI")
_OUTCOME = struct.Struct(">B")
_RESULT = struct.Struct(f">BIIHII{len(STAGES)}d")
_CLASS = struct.Struct(">Hd")
_FAILURE = struct.Struct(">Id")

# A session's view is the same for thousands of frames.
_VIEWS = 512


class NotUnderstood(Exception):
    """What the other side sent is no message that it may send; the words are for the log."""


@dataclass(frozen=True, slots=True)
class Call:
    """Frames to be analyzed in ``mode``."""

    number: int
    mode: str
    frames: Sequence[FrameRequest]

    def parts(self) -> Parts:
        mode = self.mode.encode()
        head = (_HEAD.pack(_CALL, self.number), _MODE.pack(len(mode)), mode)
        parts = [b"".join((*head, _COUNT.pack(len(self.frames))))]
        for frame in self.frames:
            view = _view_text(frame.view)
            parts += (_FRAME.pack(frame.single, len(view), len(frame.image)) + view, frame.image)
        return parts


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for the answer to a call any longer."""

    number: int

    def parts(self) -> Parts:
        return (_HEAD.pack(_CANCEL, self.number),)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the frames of a call, in their order."""

    number: int
    outcomes: Sequence[FrameOutcome]

    def parts(self) -> Parts:
        parts = [_HEAD.pack(_ANSWER, self.number) + _COUNT.pack(len(self.outcomes))]
        for outcome in self.outcomes:
            if isinstance(outcome, FrameResult):
                parts += (_result_head(outcome), outcome.payload)
            else:
                parts.append(_failure(outcome))
        return parts


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call has no other answer; the words are for the log."""

    number: int
    why: str

    def parts(self) -> Parts:
        return (_HEAD.pack(_REFUSAL, self.number) + self.why.encode(),)


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who is called takes no more calls."""

    def parts(self) -> Parts:
        return (_HEAD.pack(_LEAVING, 0),)


Request = Call | Cancel
Reply = Answer | Refusal | Leaving


def read_request(body: memoryview) -> Request:
    """What the side that calls said.

    Raises:
        NotUnderstood: it is none of its messages.
    """
    return _read(body, _REQUESTS)


def read_reply(body: memoryview) -> Reply:
    """What the side that is called said.

    Raises:
        NotUnderstood: it is none of its messages.
    """
    return _read(body, _REPLIES)


# ------------------------------------------------------------------ there


def _result_head(result: FrameResult) -> bytes:
    """All of ``result`` but its payload, which comes next."""
    if result.stages_ms.keys() != _STAGES:
        raise ValueError(f"a result has the stages {', '.join(STAGES)}, not {result.stages_ms}")
    media_type = result.media_type.encode()
    head = _RESULT.pack(
        len(media_type), len(result.payload), len(result.thumbnail), len(result.classes),
        result.width, result.height, *map(result.stages_ms.__getitem__, STAGES),
    )  # fmt: skip
    classes = (_CLASS.pack(*row) for row in result.classes)
    return b"".join((_OUTCOME.pack(0), head, media_type, *classes, result.thumbnail))


def _failure(failure: FrameFailure) -> bytes:
    code, message = 1 + _FAILURE_CODES.index(failure.code), failure.message.encode()
    head = _FAILURE.pack(len(message), failure.took_ms)
    return b"".join((_OUTCOME.pack(code), head, message))


@lru_cache(_VIEWS)
def _view_text(view: View) -> bytes:
    return view.model_dump_json().encode()


# ------------------------------------------------------------------ and back


class _Cursor:
    """Goes through the bytes of one message, and never past their end."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def row(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.piece(layout.size))

    def piece(self, length: int) -> memoryview:
        if length > self.left:
            raise NotUnderstood(f"a message of {len(self._body)} bytes that lacks its end")
        begins, self._at = self._at, self._at + length
        return self._body[begins : self._at]

    def text(self, length: int) -> str:
        try:
            return str(self.piece(length), "utf-8")
        except UnicodeDecodeError:
            raise NotUnderstood("a text that is not UTF-8") from None


def _read(body: memoryview, readers: Mapping[int, Callable[[int, _Cursor], Message]]) -> Message:
    cursor = _Cursor(body)
    kind, number = cursor.row(_HEAD)
    if kind not in readers:
        raise NotUnderstood(f"a message of kind {kind}, which this side is not sent")
    message = readers[kind](number, cursor)
    if cursor.left:
        raise NotUnderstood(f"a message with {cursor.left} bytes behind its end")
    return message


def _read_call(number: int, cursor: _Cursor) -> Call:
    mode = cursor.text(*cursor.row(_MODE))
    (count,) = cursor.row(_COUNT)
    return Call(number, mode, [_read_frame(cursor) for _ in range(count)])


def _read_frame(cursor: _Cursor) -> FrameRequest:
    single, view_bytes, image_bytes = cursor.row(_FRAME)
    view = _view_of(bytes(cursor.piece(view_bytes)))
    if single > 1:
        raise NotUnderstood(f"a frame of kind {single}")
    return FrameRequest(bytes(cursor.piece(image_bytes)), view, bool(single))


@lru_cache(_VIEWS)
def _view_of(text: bytes) -> View:
    try:
        return View.model_validate_json(text)
    except ValidationError as error:
        raise NotUnderstood(f"a view with {error.error_count()} errors") from None


def _read_answer(number: int, cursor: _Cursor) -> Answer:
    (count,) = cursor.row(_COUNT)
    return Answer(number, [_read_outcome(cursor) for _ in range(count)])


def _read_outcome(cursor: _Cursor) -> FrameOutcome:
    (kind,) = cursor.row(_OUTCOME)
    if kind == 0:
        return _read_result(cursor)
    if kind > len(_FAILURE_CODES):
        raise NotUnderstood(f"an outcome of kind {kind}")
    text_bytes, took_ms = cursor.row(_FAILURE)
    return FrameFailure(_FAILURE_CODES[kind - 1], cursor.text(text_bytes), took_ms)


def _read_result(cursor: _Cursor) -> FrameResult:
    type_bytes, payload_bytes, thumbnail_bytes, classes, width, height, *stages = cursor.row(
        _RESULT
    )
    media_type = cursor.text(type_bytes)
    found = tuple(_CLASS.iter_unpack(cursor.piece(classes * _CLASS.size)))
    thumbnail = bytes(cursor.piece(thumbnail_bytes))
    payload = bytes(cursor.piece(payload_bytes))
    stages_ms = dict(zip(STAGES, stages, strict=True))
    return FrameResult(payload, media_type, width, height, found, thumbnail, stages_ms)


_REQUESTS: Mapping[int, Callable[[int, _Cursor], Request]] = {
    _CALL: _read_call,
    _CANCEL: lambda number, _: Cancel(number),
}
_REPLIES: Mapping[int, Callable[[int, _Cursor], Reply]] = {
    _ANSWER: _read_answer,
    _REFUSAL: lambda number, cursor: Refusal(number, cursor.text(cursor.left)),
    _LEAVING: lambda *_: Leaving(),
}
