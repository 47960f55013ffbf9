"""The dearest pictures that are let in: what they cost one core, against what was foretold.

    python -m benchmarks.pictures        the table of docs/security.md

For each kind of file the worst of its sort is made at falling sizes until the door takes it, once
with the budget of a stream's frame and once with that of a picture by HTTP, and is decoded.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ingress.settings import SessionLimits
from models.pictures.headers import read_header
from models.pictures.images import decode
from models.pictures.limits import FrameRejected, Header, ImageLimits
from models.pictures.png import SIGNATURE, chunk

_SIDES = (4096, 3600, 3072, 2560, 2160, 1920, 1600, 1280, 1024, 800, 640, 480, 320)
_RUNS = 5

Made = Callable[[int], bytes]


def noise(side: int, channels: int = 3, levels: int = 256) -> NDArray[np.uint8]:
    """Seeded, so that every run makes the same files."""
    return np.random.default_rng(1).integers(0, levels, (side, side, channels), np.uint8)


def _jpeg(quality: int, *more: int, levels: int = 256) -> Made:
    def make(side: int) -> bytes:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, *more]
        return cv2.imencode(".jpg", noise(side, levels=levels), options)[1].tobytes()

    return make


_444 = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
_PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


def _many_scans(scans: int) -> Made:
    def make(side: int) -> bytes:
        data = _jpeg(60, *_444, *_PROGRESSIVE, levels=64)(side)
        # The longest refinement of the file again and again: every pass reads all of it.
        at = [i for i in range(len(data)) if data.startswith(b"\xff\xda", i)]
        last = data[at[-1] : -2]
        return data[:-2] + last * max(0, scans - len(at)) + b"\xff\xd9"

    return make


def _png(depth: int, colour: int, channels: int, *, interlace: bool, flat: bool) -> Made:
    """Rows of Paeth's filter, the dearest, of noise or of one grey."""

    def make(side: int) -> bytes:
        row = side * channels * depth // 8
        steps = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)] if interlace else [(1, 1)]
        rows = bytearray()
        body = bytes(row) if flat else noise(row, 1).tobytes()[:row]
        for across, down in steps:
            rows += (b"\4" + body[: -(-row // across)]) * -(-side // down)
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlace))
        idat = chunk(b"IDAT", zlib.compress(bytes(rows), 1))
        return b"".join((SIGNATURE, head, idat, chunk(b"IEND", b"")))

    return make


def _webp(quality: int, levels: int) -> Made:
    def make(side: int) -> bytes:
        picture = noise(side, levels=levels)
        return cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()

    return make


KINDS: dict[str, Made] = {
    "JPEG, 4:4:4, noise": _jpeg(95, *_444),
    "JPEG, 4:4:4, flat": _jpeg(50, *_444, levels=2),
    "JPEG, progressive, 4:4:4, noise": _jpeg(90, *_444, *_PROGRESSIVE),
    "JPEG, progressive, 64 scans": _many_scans(64),
    "JPEG, restart in every unit": _jpeg(60, *_444, cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "PNG, RGB, repeated noise": _png(8, 2, 3, interlace=False, flat=False),
    "PNG, RGBA of 16 bits, flat": _png(16, 6, 4, interlace=False, flat=True),
    "PNG, RGB, interlaced": _png(8, 2, 3, interlace=True, flat=False),
    "PNG, 1 bit, flat": _png(1, 0, 1, interlace=False, flat=True),
    "WebP, lossy, noise": _webp(75, 256),
    "WebP, lossy, flat": _webp(75, 2),
    "WebP, lossless, noise": _webp(101, 8),
}


def largest(make: Made, limits: ImageLimits, *, single: bool) -> tuple[bytes, Header] | None:
    """The largest picture of its kind that the door takes."""
    for side in _SIDES:
        data = make(side)
        try:
            return data, read_header(data, limits, single=single)
        except FrameRejected:
            continue
    return None


def cost_ms(data: bytes, header: Header) -> float:
    """The least of some runs: what the work costs, not what the machine adds to it."""

    def once() -> float:
        begun = time.thread_time()
        decode(data, header, (header.height, header.width))
        return 1e3 * (time.thread_time() - begun)

    return min(once() for _ in range(_RUNS))


def table() -> Iterator[str]:
    """The rows, in Markdown."""
    cv2.setNumThreads(1)
    ours = SessionLimits()
    limits = ImageLimits(ours.max_frame_pixels, ours.max_frame_bytes)
    doors = "stream: side, MiB | foretold ms | ms | HTTP: side, MiB | foretold ms | ms"
    yield f"| the dearest accepted | {doors} |"
    yield "|---|---|---|---|---|---|---|"
    for name, make in KINDS.items():
        cells = [name]
        for single in (False, True):
            if (found := largest(make, limits, single=single)) is None:
                cells += ["none", "", ""]
                continue
            data, header = found
            cells += [
                f"{header.width}², {len(data) / 2**20:.1f}",
                f"{header.work_ms:.0f}",
                f"{cost_ms(data, header):.0f}",
            ]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
