"""The frames that every part of the benchmark sends: 640 x 480 JPEGs of the sample clip.

They are made once per run and handed on as a file, so that a load generator, which shares the
cores with what it measures, neither draws nor encodes.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

from client.sample import SampleClip
from client.sources import encode_jpeg

WIDTH, HEIGHT = 640, 480
COUNT = 32
_APART_S = 0.7


def make() -> list[bytes]:
    """``COUNT`` encoded pictures, the person moving between them."""
    clip = SampleClip(WIDTH, HEIGHT)
    return [encode_jpeg(clip.at(i * _APART_S)) for i in range(COUNT)]


def write(frames: Sequence[bytes], path: Path) -> None:
    path.write_bytes(pickle.dumps(list(frames)))


def read(path: Path) -> list[bytes]:
    """The frames in a file that this run wrote."""
    frames: list[bytes] = pickle.loads(path.read_bytes())
    return frames
