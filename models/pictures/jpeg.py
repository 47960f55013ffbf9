"""A JPEG's segments, walked from SOI to EOI before a decoder sees one (ITU T.81 annex B).

Rules:

1. Every marker is found that a decoder would find: within entropy-coded data 0xFF is stuffed,
   so the next marker is a regular expression's work, and each search is a window of bytes,
   so that no thread keeps others waiting.
2. Segments and scans are counted and bounded. A scan takes 14 bytes and costs a pass over the
   whole picture, so the picture's work grows with them.
3. Of the many processes of T.81 those are taken that cameras and browsers write: Huffman
   coded, 8 bits, baseline, extended or progressive, of 1, 3 or 4 components. The height stands
   in the frame header.
"""

from __future__ import annotations

import re
import struct

from models.pictures import exif
from models.pictures.cost import jpeg_ms
from models.pictures.limits import FrameRejected, Header

MAX_SCANS = 64  # of a progressive JPEG; encoders write about 10
MAX_SEGMENTS = 1024  # an ICC profile takes up to 255

_SOI, _EOI, _SOS, _DNL, _APP1 = 0xD8, 0xD9, 0xDA, 0xDC, 0xE1
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_READ = frozenset({0xC0, 0xC1, 0xC2})
# Markers with a length behind them, and EOI and SOI; restarts and what is reserved have none.
_next_marker = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]").search
_fill = re.compile(rb"\xff{1,1024}").match  # B.1.1.2
_WINDOW = 1 << 16
_MARKERS = 3  # of so many bytes at most one is 0xFF, which Huffman codes hardly make
_CUT = "the JPEG is cut short: send it whole"


def read_jpeg(data: bytes) -> Header:
    """The header; raises FrameRejected, or struct.error where it ends inside a segment."""
    if len(data) > _WINDOW and data.count(b"\xff") > len(data) // _MARKERS:
        raise FrameRejected("the JPEG is little but markers and stuffing: encode it again")
    header: tuple[int, int, int, int] | None = None
    at, scans, turned, has_exif = 2, 0, 1, False
    for _ in range(MAX_SEGMENTS + MAX_SCANS):
        at, marker = _marker(data, at, entropy_coded=scans > 0)
        if marker == _EOI:
            break
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2:
            raise FrameRejected("the JPEG has a segment without a length: encode it again")
        if marker in _FRAME_HEADERS:
            header = _frame_header(data, at, marker, header is not None)
        elif marker == _SOS:
            scans += 1
        elif marker in (_SOI, _DNL):
            raise FrameRejected("the JPEG has a second start or height: encode it again")
        elif marker == _APP1 and data.startswith(exif.PREFIX, at + 2) and not has_exif:
            has_exif, turned = True, exif.orientation(data[at + 2 : at + length])
        if marker == _SOS and header is None:
            break
        at += length
    else:
        raise FrameRejected(
            f"the JPEG has more than {MAX_SEGMENTS:,} segments: encode it without metadata"
        )
    if header is None:
        raise FrameRejected("the JPEG has no frame header where one must be: encode it again")
    if not scans:
        raise FrameRejected(_CUT)
    if scans > MAX_SCANS:
        raise FrameRejected(
            f"the JPEG has {scans:,} scans; at most {MAX_SCANS} are allowed: send a baseline JPEG"
        )
    width, height, channels, samples = header
    return Header(
        "JPEG", width, height, jpeg_ms(samples, scans, len(data)), turned, not has_exif, channels
    )


def size_of_jpeg(data: bytes) -> tuple[int, int]:
    """Width and height of the frame header; raises FrameRejected, struct.error, IndexError."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        at, marker = _marker(data, at, entropy_coded=False)
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        (length,) = struct.unpack_from(">H", data, at)
        at += max(length, 2)
    raise FrameRejected(_CUT)


def _marker(data: bytes, at: int, *, entropy_coded: bool) -> tuple[int, int]:
    """The offset behind the next marker, and its second byte."""
    if not entropy_coded:
        filled = _fill(data, at)
        fill = filled.end() if filled else at
        marker = data[fill : fill + 1]
        if not marker:
            raise FrameRejected(_CUT)
        if fill == at or not 0xC0 <= marker[0] < 0xFF:
            raise FrameRejected("the JPEG has no frame header where one must be: encode it again")
        return fill + 1, marker[0]
    while at < len(data):
        # One byte more than the step, for a marker that lies across.
        if found := _next_marker(data, at, at + _WINDOW + 1):
            return found.end(), data[found.end() - 1]
        at += _WINDOW
    raise FrameRejected(_CUT)


def _frame_header(data: bytes, at: int, marker: int, is_second: bool) -> tuple[int, int, int, int]:
    """Width, height, components, and samples of all of them as they are coded."""
    bits, height, width, count = struct.unpack_from(">BHHB", data, at + 2)
    if is_second:
        raise FrameRejected("the JPEG has two frame headers: send one picture per frame")
    if marker not in _READ or bits != 8 or count not in (1, 3, 4):
        raise FrameRejected(
            "the JPEG is of a kind that is not read: send a baseline or progressive one, "
            "Huffman coded, 8 bits, 1, 3 or 4 components"
        )
    factors = [divmod(data[at + 9 + 3 * i], 16) for i in range(count)]
    if not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in factors):
        raise FrameRejected("the JPEG has sampling factors that there are not: encode it again")
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    units = -(-width // (8 * across)) * -(-height // (8 * down))
    # A component that is coded small is enlarged again.
    samples = max(64 * units * sum(h * v for h, v in factors), width * height * count)
    return width, height, count, samples
