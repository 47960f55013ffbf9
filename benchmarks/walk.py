"""What it costs to walk the worst garbage to its end, before any decoder sees it.

    python -m benchmarks.walk        the figures of docs/security.md, milliseconds a MiB

Each filler is as dense in what a walk stops at as the door lets a file be: a JPEG of three bytes
for each 0xFF, a PNG or WebP of the most chunks.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable

import cv2
import numpy as np

from benchmarks.pictures import noise
from ingress.settings import SessionLimits
from models.pictures import chunks, webp
from models.pictures.headers import read_header
from models.pictures.limits import ImageLimits
from models.pictures.png import chunk

MIB = 1 << 20
_RUNS = 25


def _encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, noise(32))[1].tobytes()


def jpeg_of(filler: bytes) -> bytes:
    """A JPEG with 4 MiB of ``filler`` in its scan."""
    data = _encoded(".jpg")
    room = SessionLimits().max_frame_bytes - len(data)
    return data[:-2] + filler * (room // len(filler)) + data[-2:]


def png_of_chunks() -> bytes:
    """A PNG of as many chunks as are allowed, and 4 MiB."""
    data = _encoded(".png")
    count = chunks.MAX_CHUNKS - 8
    text = chunk(b"tEXt", bytes((SessionLimits().max_frame_bytes - len(data)) // count - 12))
    return data[:33] + text * count + data[33:]


def webp_of_chunks() -> bytes:
    """A WebP of as many chunks as are allowed, and 4 MiB."""
    data = _encoded(".webp")
    count = webp.MAX_CHUNKS - 1
    size = (SessionLimits().max_frame_bytes - len(data)) // count // 2 * 2 - 8
    body = data[8:] + (b"XMP " + struct.pack("<I", size) + bytes(size)) * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


GARBAGE: dict[str, Callable[[], bytes]] = {
    "JPEG, stuffed zeros": lambda: jpeg_of(b"\xff\0\0"),
    "JPEG, restarts": lambda: jpeg_of(b"\xff\xd0\0"),
    "JPEG, Huffman codes": lambda: jpeg_of(
        np.random.default_rng(1).bytes(MIB // 8).replace(b"\xff", b"\xff\0")
    ),
    "PNG, chunks": png_of_chunks,
    "WebP, chunks": webp_of_chunks,
}


def ms_per_mib(data: bytes) -> tuple[float, float, float]:
    """Of the thread's own time, the median; of the clock's, the median and the worst."""
    limits = ImageLimits(SessionLimits().max_frame_pixels, SessionLimits().max_frame_bytes)
    own, wall = [], []
    for _ in range(_RUNS):
        begun, begun_own = time.perf_counter(), time.thread_time()
        read_header(data, limits)
        own.append(time.thread_time() - begun_own)
        wall.append(time.perf_counter() - begun)
    to_ms = 1e3 * MIB / len(data)
    return to_ms * statistics.median(own), to_ms * statistics.median(wall), to_ms * max(wall)


if __name__ == "__main__":
    print("| garbage | ms a MiB, of a core | by the clock | at worst |\n|---|---|---|---|")
    for name, make in GARBAGE.items():
        print(f"| {name} | {' | '.join(f'{ms:.1f}' for ms in ms_per_mib(make()))} |", flush=True)
