"""The header of a picture: what it declares, and whether it may be decoded at all.

A frame comes from a stranger, so nothing is decoded before its header was read. Rules:

1. Bytes, pixels and sides are bounded by what the header declares; a picture of
   30,000 x 30,000 pixels is refused at the cost of reading 24 bytes.
2. A picture that ends early is refused: some decoders fill the missing part with grey,
   and a mask of grey looks like an answer.
3. One picture, one frame: animations are refused. So are JPEGs of more than
   ``MAX_SCANS`` scans: a scan takes 14 bytes and costs a pass over the whole picture.

Headers are read by hand. A decoding library that reads them too brings global limits
and plugins of its own, and for WebP it allocates the canvas before anyone saw its size.
Nothing here imports a numeric library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MAX_SCANS = 64  # of a progressive JPEG; encoders write about 10
MAX_SEGMENTS = 1024  # before the frame header of a JPEG; an ICC profile takes up to 255
MAX_SIDE = 8191  # two of them side by side still fit a WebP (16,383)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_EXIF = b"Exif\0\0"
_SCAN = b"\xff\xda"
_END_OF_IMAGE = b"\xff\xd9"
_WEBP_ANIMATED = 0x02
# ITU T.81 table B.1: frame headers, and the segments that may stand before one.
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_OTHER_SEGMENTS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})


class FrameRejected(ValueError):
    """A picture that is not decoded; the message is for the peer who sent it."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a frame may be before it is decoded."""

    max_pixels: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture declares about itself. Sizes are in pixels, before EXIF rotation.

    ``reducible``: the decoder can produce it at a half, a quarter or an eighth for less
    work than at full size, and it is certain that no EXIF rotation follows.
    """

    width: int
    height: int
    reducible: bool = False


def read_header(data: bytes, limits: ImageLimits) -> Header:
    """The header of a JPEG, PNG or WebP that may be decoded.

    Raises:
        FrameRejected: not such a picture, cut short, animated, or past a limit.
    """
    if len(data) > limits.max_bytes:
        raise FrameRejected(
            f"the frame has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed: "
            "send it smaller or at a lower quality"
        )
    name, read = _format(data)
    try:
        header = read(data)
    except struct.error as error:
        raise FrameRejected(f"the {name} ends inside its header: send it whole") from error
    _check_size(header, limits)
    return header


def _format(data: bytes) -> tuple[str, Callable[[bytes], Header]]:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", _read_jpeg
    if data.startswith(_PNG_SIGNATURE):
        return "PNG", _read_png
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", _read_webp
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


def _read_jpeg(data: bytes) -> Header:
    """ITU T.81 annex B: segments up to the frame header, then scans, then EOI."""
    at, height, width = _jpeg_frame_header(data)
    # Behind the frame header 0xFF is stuffed with 0x00 in entropy-coded data, so these
    # byte pairs are markers; a thumbnail's own markers stand before it, inside APP1.
    # A whole picture ends with EOI, so looking from the end finds it at once.
    first_scan = data.find(_SCAN, at)
    if first_scan < 0 or data.rfind(_END_OF_IMAGE, first_scan) < 0:
        raise FrameRejected("the JPEG is cut short: send it whole")
    if (scans := data.count(_SCAN, first_scan)) > MAX_SCANS:
        raise FrameRejected(
            f"the JPEG has {scans:,} scans; at most {MAX_SCANS} are allowed: send a baseline JPEG"
        )
    return Header(width, height, reducible=data.find(_EXIF, 2, first_scan) < 0)


def _jpeg_frame_header(data: bytes) -> tuple[int, int, int]:
    """Offset of the first frame header (SOF), and the height and width it declares."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        prefix, marker, length = struct.unpack_from(">BBH", data, at)
        if prefix == 0xFF and marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return at, height, width
        if prefix == 0xFF and marker == 0xFF:  # a fill byte, B.1.1.2
            at += 1
        elif prefix == 0xFF and marker in _OTHER_SEGMENTS:
            at += 2 + length
        else:
            break
    raise FrameRejected("the JPEG has no frame header where one must be: encode it again")


def _read_png(data: bytes) -> Header:
    """PNG 3rd edition §5 and §11: IHDR stands first, acTL before IDAT, IEND last."""
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    if kind != b"IHDR" or data.rfind(_PNG_END) < 0:
        raise FrameRejected("the PNG is damaged or cut short: send it whole")
    if data.find(b"acTL", 33, data.find(b"IDAT")) >= 0:
        raise FrameRejected("the PNG is animated: send one picture per frame")
    return Header(width, height)


def _read_webp(data: bytes) -> Header:
    """RFC 9649 §2: a RIFF container whose first chunk tells the layout."""
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise FrameRejected("the WebP is cut short: send it whole")
    read = _WEBP_LAYOUTS.get(data[12:16])
    if read is None:
        raise FrameRejected("the WebP starts with no picture: encode it again")
    return read(data)


def _read_webp_lossy(data: bytes) -> Header:
    """RFC 6386 §9.1: frame tag, start code, then two 14-bit sides below their scales."""
    width, height = struct.unpack_from("<HH", data, 26)
    return Header(width & 0x3FFF, height & 0x3FFF)


def _read_webp_lossless(data: bytes) -> Header:
    """RFC 9649 §3.4: signature byte, then two 14-bit sides, each less one."""
    (bits,) = struct.unpack_from("<I", data, 21)
    return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)


def _read_webp_extended(data: bytes) -> Header:
    """RFC 9649 §2.7: flags, then the canvas' two 24-bit sides, each less one."""
    flags, width_low, width_high, height_low, height_high = struct.unpack_from("<B3xHBHB", data, 20)
    if flags & _WEBP_ANIMATED:
        raise FrameRejected("the WebP is animated: send one picture per frame")
    return Header((width_high << 16 | width_low) + 1, (height_high << 16 | height_low) + 1)


_WEBP_LAYOUTS: dict[bytes, Callable[[bytes], Header]] = {
    b"VP8 ": _read_webp_lossy,
    b"VP8L": _read_webp_lossless,
    b"VP8X": _read_webp_extended,
}
