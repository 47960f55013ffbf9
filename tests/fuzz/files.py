"""Pictures as strangers send them: whole files of each format, and what becomes of their parts.

A file is taken apart into its parts (a JPEG's segments and scans, the chunks of a PNG or a WebP),
these are changed, and it is put together again with lengths and sums that are right, so that a
change is met by what reads the part and not by the first sum over it.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageOps
from zlib_ng import zlib_ng

from models.pictures.png import SIGNATURE, chunk

Draw = Callable[..., Any]
Part = tuple[bytes, bytes]  # its kind, its body

PORTRAIT = Image.open(Path(__file__).parents[1] / "data" / "astronaut.png").convert("RGB")
MOST_BYTES = 4 << 20
_EXIF = Image.Exif()
_EXIF[0x0112] = 6
_MORE = {"exif": _EXIF.tobytes(), "icc_profile": b"profile" * 30}


def _saved(picture: Image.Image, picture_format: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, picture_format, **options)
    return out.getvalue()


def _interlaced(picture: Image.Image) -> bytes:
    """Pillow writes none: the seven passes, each row without a filter."""
    pixels = np.asarray(picture)
    steps = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2),
             (0, 1, 1, 2))  # fmt: skip
    passes = [pixels[y::dy, x::dx] for x, dx, y, dy in steps]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    head = struct.pack(">IIBBBBB", *picture.size, 8, 2, 0, 0, 1)
    parts = (b"IHDR", head), (b"IDAT", zlib_ng.compress(rows)), (b"IEND", b"")
    return SIGNATURE + b"".join(chunk(*part) for part in parts)


@functools.cache
def whole() -> tuple[bytes, ...]:
    """Files as encoders write them, of every kind that the door lets in, and animations."""
    made: list[bytes] = []
    for size in ((64, 48), (33, 17), (1, 1), (640, 480)):
        small = PORTRAIT.resize(size)
        for progressive in (False, True):
            made += [
                _saved(small, "JPEG", progressive=progressive, subsampling=s) for s in (0, 1, 2)
            ]
            made.append(_saved(small.convert("L"), "JPEG", progressive=progressive))
            made.append(_saved(small.convert("CMYK"), "JPEG", progressive=progressive))
        made.append(_saved(small, "JPEG", restart_marker_blocks=1, comment=b"text", **_MORE))
        made += [_saved(small.convert(mode), "PNG") for mode in ("RGB", "RGBA", "L", "LA", "1")]
        made += [_saved(small.quantize(n), "PNG", transparency=1) for n in (2, 4, 16, 256)]
        made.append(_interlaced(small))
        made.append(_saved(small, "PNG", **_MORE))
        wide = np.asarray(small).astype(np.uint16) * 251
        made.append(cv2.imencode(".png", wide)[1].tobytes())
        for mode in ("RGB", "RGBA"):
            made += [_saved(small.convert(mode), "WEBP", lossless=kind) for kind in (False, True)]
        made.append(_saved(small, "WEBP", **_MORE))
        others = [ImageOps.invert(small)]
        made += [_saved(small, kind, save_all=True, append_images=others) for kind in _ANIMATED]
    return tuple(made)


_ANIMATED = ("WEBP", "PNG")

# ------------------------------------------------------------------ apart, and together

_segment = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]").search


def apart(data: bytes) -> list[Part]:
    """The parts of a whole file."""
    if data.startswith(SIGNATURE):
        return _png_parts(data)
    return _webp_parts(data) if data.startswith(b"RIFF") else _jpeg_parts(data)


def together(data: bytes, parts: list[Part]) -> bytes:
    """A file of those parts, of the format of ``data``."""
    if data.startswith(SIGNATURE):
        return SIGNATURE + b"".join(chunk(*part) for part in parts)
    if data.startswith(b"RIFF"):
        body = b"WEBP" + b"".join(
            kind + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for kind, b in parts
        )
        return b"RIFF" + struct.pack("<I", len(body)) + body
    return b"".join(kind + body for kind, body in parts)


def _jpeg_parts(data: bytes) -> list[Part]:
    """A scan goes with the entropy-coded data behind it."""
    starts, at = [0], 2
    while found := _segment(data, at):
        starts.append(found.start())
        at = found.end()
        if data[at - 1] not in (0xD8, 0xD9):
            at += int.from_bytes(data[at : at + 2], "big")
    ends = [*starts[1:], len(data)]
    return [(data[a : a + 2], data[a + 2 : b]) for a, b in zip(starts, ends, strict=True)]


def _png_parts(data: bytes) -> list[Part]:
    parts, at = [], len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        parts.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def _webp_parts(data: bytes) -> list[Part]:
    parts, at = [], 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        parts.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


# ------------------------------------------------------------------ changed

_JUNK: tuple[Part, ...] = (
    (b"zTXt", b"k\0\0x"), (b"acTL", bytes(8)), (b"PLTE", b"abc"), (b"eXIf", _MORE["exif"]),
    (b"tRNS", b"\0"), (b"IDAT", b""), (b"ANIM", bytes(6)), (b"ALPH", b"\0"), (b"XMP ", b""),
    (b"VP8X", bytes(10)), (b"\xff\xdc", b"\0\4\0\x30"), (b"\xff\xfe", b"\0\2"),
    (b"\xff\xdd", b"\0\4\0\1"), (b"\xff\xd8", b""), (b"\xff\xc9", b"\0\2"), (b"\xff\xd0", b""),
    (b"\xff\xe1", b"\xff\xff"),
)  # fmt: skip


@st.composite
def pictures(draw: Draw) -> bytes:
    """A file whose parts, then whose bytes were changed, or one of them, or neither."""
    data: bytes = draw(st.sampled_from(whole()))
    parts = apart(data)
    for _ in range(draw(st.integers(0, 3))):
        parts = _changed(draw, parts)
    data = together(data, parts)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 4]))):
        data = _torn(draw, data)
    return data[:MOST_BYTES]


def _changed(draw: Draw, parts: list[Part]) -> list[Part]:
    if not parts:
        return parts
    at = draw(st.integers(0, len(parts) - 1))
    kind, body = parts[at]
    before, after = parts[:at], parts[at + 1 :]
    how = ["gone", "again", "flood", "swapped", "short", "bytes", "bytes", "sizes", "junk", "kind"]
    match draw(st.sampled_from(how)):
        case "gone":
            return before + after
        case "again":
            return [*before, *[parts[at]] * draw(st.integers(2, 80)), *after]
        case "flood":
            times = draw(st.sampled_from([100, 1000, 5000])) if len(body) < 200 else 2
            return [*before, *[parts[at]] * times, *after]
        case "swapped":
            other = draw(st.integers(0, len(parts) - 1))
            swapped = list(parts)
            swapped[at], swapped[other] = swapped[other], swapped[at]
            return swapped
        case "short":
            return [*before, (kind, body[: draw(st.integers(0, len(body)))]), *after]
        case "sizes":
            return [*before, (kind, _resized(draw, body)), *after]
        case "junk":
            times = draw(st.sampled_from([1, 1, 3, 100, 5000]))
            return [*before, *[draw(st.sampled_from(_JUNK))] * times, *parts[at:]]
        case "kind":
            return [*before, (draw(st.sampled_from(parts))[0], body), *after]
    return [*before, (kind, _torn(draw, body)), *after]


def _resized(draw: Draw, body: bytes) -> bytes:
    """Other numbers where headers keep sides, depths, factors and flags."""
    at = draw(st.integers(0, min(20, len(body))))
    number = draw(st.sampled_from([0, 1, 2, 255, 1000, 3000, 4096, 8191, 8192, 16383, 65535]))
    put: bytes = number.to_bytes(2, draw(st.sampled_from(["big", "little"])))
    return body[:at] + put + body[at + 2 :]


def _torn(draw: Draw, data: bytes) -> bytes:
    at, to = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    match draw(st.sampled_from(["cut", "left out", "twice", "noise", "noise", "noise"])):
        case "cut":
            return data[:to]
        case "left out":
            return data[:at] + data[to:]
        case "twice":
            return data[:to] + data[at:]
    noise: bytes = draw(st.binary(min_size=1, max_size=8))
    return data[:at] + noise + data[at + len(noise) :]
