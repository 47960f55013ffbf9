"""The words that every part of the wire shares: dialects, codes, causes, and what is bad."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import AllowInfNan, Field, StrictFloat, StrictInt

SUBPROTOCOL = "segstream.v1"
PLAIN_SUBPROTOCOL = "segstream.plain"  # for pages that must offer one
TICKET_SUBPROTOCOL = "segstream.ticket."  # and the rest of the ticket
VERSION = 1
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")


class Dialect(StrEnum):
    """Which of the two languages a connection speaks."""

    PLAIN = "plain"
    V1 = "v1"


class ErrorCode(StrEnum):
    """The closed set of ``code`` in an error message; the first five are the original's."""

    INFERENCE_FAILED = "INFERENCE_FAILED"
    INVALID_MODE = "INVALID_MODE"
    MODE_CHANGE_FAILED = "MODE_CHANGE_FAILED"
    VIZ_UPDATE_FAILED = "VIZ_UPDATE_FAILED"
    STATS_FAILED = "STATS_FAILED"
    BAD_MESSAGE = "BAD_MESSAGE"
    FRAME_REJECTED = "FRAME_REJECTED"
    FRAME_DROPPED = "FRAME_DROPPED"
    RATE_LIMITED = "RATE_LIMITED"
    UNAUTHORIZED = "UNAUTHORIZED"
    OVERLOADED = "OVERLOADED"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"


class DropCause(StrEnum):
    """Why a frame was let go unanswered by a picture; the label of ``frames_dropped_total``."""

    SUPERSEDED = "superseded"
    NO_CREDIT = "no_credit"
    STALE = "stale"
    MODE_UNAVAILABLE = "mode_unavailable"
    RATE_LIMITED = "rate_limited"
    DISCONNECTED = "disconnected"


Number: TypeAlias = StrictInt | Annotated[StrictFloat, AllowInfNan(False)]
RequestId: TypeAlias = Annotated[str, Field(max_length=64)] | StrictInt


class BadMessage(Exception):
    """What a peer sent cannot be understood; the words are for that peer."""

    def __init__(
        self,
        message: str,
        code: ErrorCode = ErrorCode.BAD_MESSAGE,
        *,
        reply_to: str | int | None = None,
        frame_seq: int | None = None,
        timestamp: Number | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reply_to = reply_to
        self.frame_seq = frame_seq
        self.timestamp = timestamp


# How a client that came back fared, the label of session_resumes_total.
RESUMED, SETTINGS_ONLY, REFUSED, OTHERS, STORE_LOST = OUTCOMES = (
    "resumed", "settings_only", "refused", "of_another_principal", "store_lost",
)  # fmt: skip
