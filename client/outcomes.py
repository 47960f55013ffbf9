"""How things end for a client: frames as values, calls as exceptions.

A frame that was sent ends in exactly one ``Outcome``: a ``Result``, ``Failed``
or ``Dropped``. A call (opening, a request, ``segment``) that cannot give what
it promises raises a ``StreamError``. The end of a connection is an ``End``; the
advice that follows from its close code is read from ``ingress.disconnects``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ingress.disconnects import Advice, advice_for
from ingress.wire.pictures import Result
from ingress.wire.words import DropCause, ErrorCode

CLOSED: Final = "closed"


@dataclass(frozen=True, slots=True)
class Failed:
    """An ``error`` of the server; ``frame_seq`` is None where it is about no one frame."""

    frame_seq: int | None
    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A frame without a result; cause ``closed``: the connection ended first.

    Only the server says ``disconnected``, of frames that it had when a connection was lost;
    this client has settled them as ``closed`` by then.
    """

    frame_seq: int
    cause: DropCause | Literal["closed"]


Outcome: TypeAlias = Result | Failed | Dropped


@dataclass(frozen=True, slots=True)
class End:
    """The end of one connection.

    Attributes:
        code: the close code; 1006 where the connection was lost without one.
        reason: the close frame's words, or ours.
        retry_ms: the window for a reconnect, first and last millisecond.
    """

    code: int
    reason: str
    retry_ms: tuple[int, int]

    @property
    def advice(self) -> Advice:
        return advice_for(self.code)


LOST: Final = End(1006, "connection lost", (500, 30_000))
"""A connection that ended without a word."""


class StreamError(Exception):
    """Whatever this client raises."""


class Unreachable(StreamError):
    """No connection could be opened."""


class Closed(StreamError):
    """The connection, or the session of a request, ended; ``end`` says how, and what to do."""

    def __init__(self, end: End) -> None:
        why = f" ({end.reason})" if end.reason else ""
        super().__init__(f"the connection closed with code {end.code}{why}: {end.advice}")
        self.end = end


class Refused(StreamError):
    """The server answered a request with an error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoReply(StreamError):
    """A request was not answered within its deadline."""

    def __init__(self, request: str, timeout_s: float) -> None:
        super().__init__(f"the server did not answer {request} within {timeout_s:g} s")


class NoResult(StreamError):
    """``segment`` got no result for its frame; ``outcome`` is what it got."""

    def __init__(self, outcome: Failed | Dropped) -> None:
        words = (
            outcome.message if isinstance(outcome, Failed) else f"frame dropped: {outcome.cause}"
        )
        super().__init__(words)
        self.outcome = outcome
