"""How each dialect says what a session has to say.

The two differ in how frames are answered, and in nothing else: plain answers
every frame in order, in base64, and tells of each drop; v1 answers in binary
within the client's credit and gathers drops. Control messages are the same.
"""

from __future__ import annotations

import base64
import json
from typing import Protocol

from ingress.dispatch.dispatcher import Flight
from ingress.session.figures import Figures
from ingress.session.outbox import Outbox
from ingress.wire.pictures import ClassShare, Frame, Result, ResultMeta, encode_result
from ingress.wire.replies import Error, ModeInfo
from ingress.wire.words import Dialect, DropCause, ErrorCode
from models.work import FrameResult

_DROP_WORDS = {
    DropCause.SUPERSEDED: "a newer frame took its place; keep fewer frames in flight",
    DropCause.NO_CREDIT: "results were not taken in time; a newer frame took its place",
    DropCause.STALE: "it waited too long for the model",
    DropCause.MODE_UNAVAILABLE: "no replica of the mode is available; try again or change the mode",
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

    dialect: Dialect
    answers_in_order: bool
    result_type: str

    def waiting_room(self, in_flight_limit: int, outstanding: int) -> int:
        """How many frames may wait, given how many are past the mailbox."""

    def result(
        self, seq: int, flight: Flight, result: FrameResult, mode: ModeInfo, figures: Figures
    ) -> str | bytes:
        """The message for a frame that got its result; ``figures`` hold it already."""

    def failure(self, frame: Frame, code: ErrorCode, why: str) -> Error:
        """The message for a frame that got an error."""

    def dropped(self, frame: Frame, cause: DropCause, outbox: Outbox) -> None:
        """Tell of a frame that was let go."""


class PlainVoice:
    """The original client's dialect."""

    dialect = Dialect.PLAIN
    answers_in_order = True
    result_type = "segmentation"

    def waiting_room(self, in_flight_limit: int, outstanding: int) -> int:
        return max(1, in_flight_limit - outstanding)

    def result(
        self, seq: int, flight: Flight, result: FrameResult, mode: ModeInfo, figures: Figures
    ) -> str:
        head = {"type": "segmentation"}
        if flight.frame.timestamp is not None:
            head["timestamp"] = flight.frame.timestamp  # type: ignore[assignment]
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
        return json.dumps(
            {**head, "data": base64.b64encode(result.payload).decode(), "metadata": metadata}
        )

    def failure(self, frame: Frame, code: ErrorCode, why: str) -> Error:
        return Error(code=code, message=why, timestamp=frame.timestamp)

    def dropped(self, frame: Frame, cause: DropCause, outbox: Outbox) -> None:
        outbox.put_control(self.failure(frame, ErrorCode.FRAME_DROPPED, _DROP_WORDS[cause]))


class V1Voice:
    """``segstream.v1``."""

    dialect = Dialect.V1
    answers_in_order = False
    result_type = "result"

    def waiting_room(self, in_flight_limit: int, outstanding: int) -> int:
        return in_flight_limit

    def result(
        self, seq: int, flight: Flight, result: FrameResult, mode: ModeInfo, figures: Figures
    ) -> bytes:
        meta = ResultMeta(
            mode=mode.name,
            width=result.width,
            height=result.height,
            media_type=result.media_type,
            stages_ms={"queue": flight.queue_ms, **result.stages_ms},
            batch=flight.batch,
            classes=background_free(result, mode),
        )
        return encode_result(
            Result(seq, flight.frame.seq, flight.frame.captured_us, meta, result.payload)
        )

    def failure(self, frame: Frame, code: ErrorCode, why: str) -> Error:
        return Error(code=code, message=why, frame_seq=frame.seq)

    def dropped(self, frame: Frame, cause: DropCause, outbox: Outbox) -> None:
        outbox.put_dropped(frame.seq, cause)


VOICES: dict[Dialect, Voice] = {Dialect.PLAIN: PlainVoice(), Dialect.V1: V1Voice()}
