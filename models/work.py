"""One frame on its way through a model: what goes in, what comes out.

Plain values that cross process borders, so this imports no numeric library:
the side that only forwards a result need not load one to read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.view import View

STAGES = ("decode", "inference", "render", "encode")
FailureCode = Literal["FRAME_REJECTED", "INFERENCE_FAILED", "RESULT_TOO_LARGE"]


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """An encoded picture and how its result is wanted; ``single``: it came alone, by HTTP."""

    image: bytes
    view: View
    single: bool = False


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the pipeline made of one frame.

    Attributes:
        payload: the encoded overlay, mask or matte; empty for output ``none``.
        media_type: of the payload; empty for output ``none``.
        width, height: of the payload in pixels; of the frame for output ``none``.
        classes: (class id, share of the frame 0..1) of every class present, ascending.
        thumbnail: PNG label map, 8-bit grey, pixel = class id, longest side 64.
        stages_ms: milliseconds in each of ``STAGES``.
    """

    payload: bytes
    media_type: str
    width: int
    height: int
    classes: tuple[tuple[int, float], ...]
    thumbnail: bytes
    stages_ms: dict[str, float]

    def cost_ms(self, batch: int) -> float:
        """Its work in milliseconds; the network's is shared by the frames of its batch."""
        alone = sum(ms for stage, ms in self.stages_ms.items() if stage != "inference")
        return alone + self.stages_ms["inference"] / batch


@dataclass(frozen=True, slots=True)
class FrameFailure:
    """Why a frame got no result; ``message`` is for the peer, ``took_ms`` the step that failed."""

    code: FailureCode
    message: str
    took_ms: float = 0.0

    def cost_ms(self, batch: int) -> float:
        """The work that it was at least, in milliseconds, however many were in its batch."""
        return self.took_ms


FrameOutcome = FrameResult | FrameFailure
