"""What a picture may be, what it says it is, and how it is refused.

The bound on work is in milliseconds of one core, estimated from the container alone
(``models.pictures.cost``): pixels say too little, because a progressive JPEG goes over them
once for each scan, and a PNG of 16 bits and four channels inflates eight bytes for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FRAME_WORK_MS = 150.0
SINGLE_WORK_MS = 1000.0
FRAME_DRAW_MS = 300.0
SINGLE_DRAW_MS = 2000.0
RESULT_BYTES = 16 << 20
MAX_SIDE = 8191  # two of them side by side still fit a WebP (16,383)

Format = Literal["JPEG", "PNG", "WebP"]


class FrameRejected(ValueError):
    """A picture that is not decoded; the message is for the peer who sent it."""


class ResultTooLarge(ValueError):
    """A payload that is not sent; the message is for the peer who asked for it."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may be before it is decoded, and how large its result.

    Attributes:
        max_pixels: width times height.
        max_bytes: encoded.
        frame_work_ms: estimated decoding of a frame of a stream.
        single_work_ms: the same of a picture that comes alone, by HTTP.
        frame_draw_ms: estimated drawing and encoding of a stream's result.
        single_draw_ms: the same by HTTP.
        max_result_bytes: of the payload.
    """

    max_pixels: int
    max_bytes: int
    frame_work_ms: float = FRAME_WORK_MS
    single_work_ms: float = SINGLE_WORK_MS
    frame_draw_ms: float = FRAME_DRAW_MS
    single_draw_ms: float = SINGLE_DRAW_MS
    max_result_bytes: int = RESULT_BYTES


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture declares about itself. Sizes are in pixels, before EXIF rotation.

    Attributes:
        work_ms: estimated, of its decoding at full size.
        orientation: of EXIF, 1 to 8.
        reducible: the decoder can produce it at a half, a quarter or an eighth for less
            work than at full size, and it is certain that no EXIF rotation follows.
        channels: of a JPEG; 4 are CMYK.
    """

    format: Format
    width: int
    height: int
    work_ms: float
    orientation: int = 1
    reducible: bool = False
    channels: int = 3
