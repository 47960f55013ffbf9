"""The header of a picture: what it declares, and whether it may be decoded at all.

A frame comes from a stranger, so nothing is decoded before its container was walked from end
to end, at the cost of some ten milliseconds for each MiB at most. Rules:

1. Bytes, pixels, sides and the work of decoding are bounded by what the container declares;
   a picture of 30,000 x 30,000 pixels is refused at the cost of reading 24 bytes.
2. A picture that ends early is refused: some decoders fill the missing part with grey,
   and a mask of grey looks like an answer.
3. One picture, one frame: animations are refused.
4. The decoder is given pixels alone: text, profiles and metadata are not its business.

Containers are walked by hand. A decoding library that reads them too brings global limits
and plugins of its own, and for WebP it allocates the canvas before anyone saw its size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from models.pictures.chunks import read_png
from models.pictures.jpeg import read_jpeg
from models.pictures.limits import MAX_SIDE, Format, FrameRejected, Header, ImageLimits
from models.pictures.png import SIGNATURE
from models.pictures.webp import read_webp

_READERS: dict[Format, Callable[[bytes], Header]] = {
    "JPEG": read_jpeg,
    "PNG": read_png,
    "WebP": read_webp,
}


def read_header(data: bytes, limits: ImageLimits, *, single: bool = False) -> Header:
    """The header of a JPEG, PNG or WebP that may be decoded.

    ``single``: it comes alone, by HTTP, and may take ``single_work_ms``.

    Raises:
        FrameRejected: not such a picture, cut short, animated, or past a limit.
    """
    if len(data) > limits.max_bytes:
        raise FrameRejected(
            f"the frame has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed: "
            "send it smaller or at a lower quality"
        )
    name = _format(data)
    try:
        header = _READERS[name](data)
    except (struct.error, IndexError) as error:
        raise FrameRejected(f"the {name} ends inside its header: send it whole") from error
    _check_size(header, limits)
    most_ms = limits.single_work_ms if single else limits.frame_work_ms
    if header.work_ms > most_ms:
        raise FrameRejected(
            f"the {name} of {header.width:,} x {header.height:,} pixels takes about "
            f"{header.work_ms:,.0f} ms to decode; at most {most_ms:,.0f} are allowed: send it "
            "smaller, or as a baseline JPEG"
        )
    return header


def _format(data: bytes) -> Format:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    what = "not an image" if data else "empty"
    raise FrameRejected(f"the frame is {what}: send a JPEG, PNG or WebP")


def _check_size(header: Header, limits: ImageLimits) -> None:
    width, height = header.width, header.height
    size = f"{width:,} x {height:,} pixels"
    if not width or not height:
        raise FrameRejected(f"the frame declares {size}: neither side may be 0")
    if width * height > limits.max_pixels:
        raise FrameRejected(
            f"the frame has {size}; at most {limits.max_pixels:,} are allowed: send it smaller"
        )
    if max(width, height) > MAX_SIDE:
        raise FrameRejected(f"the frame has {size}; at most {MAX_SIDE:,} are allowed on a side")
