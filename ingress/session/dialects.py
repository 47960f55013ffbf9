"""How each dialect says what a session has to say.

The two differ in how frames are answered, and in nothing else: plain answers every frame, in
base64, errors in their turn among the results, and tells of each drop; v1 answers the newest
frames, in binary, within the credit that the client acknowledges. Control messages are the same.

A voice returns what is to be said; the outbox knows when, and ``ingress.wire.said`` how.
"""

from __future__ import annotations

from typing import Protocol

from ingress.dispatch.flight import Flight
from ingress.session.figures import Figures
from ingress.wire.pictures import ClassShare, Frame, PlainResult, Result, ResultMeta
from ingress.wire.replies import Dropped, Error, ModeInfo
from ingress.wire.words import Dialect, DropCause, ErrorCode
from models.work import FrameResult

_DROP_WORDS = {
    DropCause.SUPERSEDED: "a newer frame took its place; keep fewer frames in flight",
    DropCause.NO_CREDIT: "results were not taken in time; a newer frame took its place",
    DropCause.STALE: "it waited too long for the model",
    DropCause.MODE_UNAVAILABLE: "no replica of the mode is available; try again or change the mode",
    DropCause.RATE_LIMITED: "more frames, pixels or bytes a second than a session may send; "
    "send fewer frames, or smaller ones",
    DropCause.DISCONNECTED: "the connection was lost before it was answered",
}


def background_free(result: FrameResult, mode: ModeInfo) -> tuple[ClassShare, ...]:
    """The classes found in a frame, the background left out."""
    return tuple(
        ClassShare(id=class_id, label=mode.labels[class_id], share=round(share, 4))
        for class_id, share in result.classes
        if class_id
    )


class Voice(Protocol):
    """One dialect's way to answer frames."""

    answers_all: bool  # each frame in its turn; else the newest, and errors at once
    acknowledged: bool  # by the client; else a result that has left counts as received

    def waiting_room(self, in_flight_limit: int, outstanding: int) -> int:
        """How many frames may wait, given how many are past the mailbox."""

    def result(
        self, seq: int, flight: Flight, result: FrameResult, mode: ModeInfo, figures: Figures
    ) -> Result | PlainResult:
        """The answer to a frame that got its result; ``figures`` hold it already."""

    def failure(self, frame: Frame, code: ErrorCode, why: str) -> Error:
        """The answer to a frame that got an error."""

    def dropped(self, frame: Frame, cause: DropCause) -> Error | Dropped:
        """What is said of a frame that was let go."""


class PlainVoice:
    """The original client's dialect."""

    answers_all = True
    acknowledged = False

    def waiting_room(self, in_flight_limit: int, outstanding: int) -> int:
        return max(1, in_flight_limit - outstanding)

    def result(
        self, seq: int, flight: Flight, result: FrameResult, mode: ModeInfo, figures: Figures
    ) -> PlainResult:
        metadata = {
            "inference_time_ms": round(result.stages_ms["inference"], 3),
            "total_time_ms": round(flight.total_ms, 3),
            "model_mode": mode.name,
            "fps": figures.fps(flight.landed_at),
            "avg_inference_ms": figures.inference_ms()[0],
            "detected_classes": [found.label for found in background_free(result, mode)],
            "width": result.width,
            "height": result.height,
            "media_type": result.media_type,
        }
        return PlainResult(flight.frame.timestamp, result.payload, metadata)

    def failure(self, frame: Frame, code: ErrorCode, why: str) -> Error:
        return Error(code=code, message=why, timestamp=frame.timestamp)

    def dropped(self, frame: Frame, cause: DropCause) -> Error:
        return self.failure(frame, ErrorCode.FRAME_DROPPED, _DROP_WORDS[cause])


class V1Voice:
    """``segstream.v1``."""

    answers_all = False
    acknowledged = True

    def waiting_room(self, in_flight_limit: int, outstanding: int) -> int:
        return in_flight_limit

    def result(
        self, seq: int, flight: Flight, result: FrameResult, mode: ModeInfo, figures: Figures
    ) -> Result:
        meta = ResultMeta(
            mode=mode.name,
            width=result.width,
            height=result.height,
            media_type=result.media_type,
            stages_ms={"queue": flight.queue_ms, **result.stages_ms},
            batch=flight.batch,
            classes=background_free(result, mode),
        )
        return Result(seq, flight.frame.seq, flight.frame.captured_us, meta, result.payload)

    def failure(self, frame: Frame, code: ErrorCode, why: str) -> Error:
        return Error(code=code, message=why, frame_seq=frame.seq)

    def dropped(self, frame: Frame, cause: DropCause) -> Dropped:
        return Dropped(frames=(frame.seq,), cause=cause)


VOICES: dict[Dialect, Voice] = {Dialect.PLAIN: PlainVoice(), Dialect.V1: V1Voice()}
