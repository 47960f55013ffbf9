"""Where the command line takes its frames from: each a clock-driven picture or the end.

A source is asked for the picture at a time since the start. The sample clip
can show any moment; a video or a camera gives its next picture. Reading blocks,
so callers ask from a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from client.sample import Picture, SampleClip


class Unreadable(Exception):
    """A file or a camera that gives no pictures."""


class Source(Protocol):
    def at(self, seconds: float) -> Picture | None:
        """uint8 [H,W,3] RGB, or None after the last one."""


class Video:
    """A video file, or a camera by its index."""

    def __init__(self, name: str) -> None:
        self._capture = cv2.VideoCapture(int(name) if name.isdecimal() else name)
        if not self._capture.isOpened():
            kind = "camera" if name.isdecimal() else "video"
            raise Unreadable(f"cannot open {kind} {name}")

    def at(self, seconds: float) -> Picture | None:
        read, picture = self._capture.read()
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8) if read else None

    def close(self) -> None:
        self._capture.release()


def encode_jpeg(picture: Picture, quality: int = 85) -> bytes:
    """The JPEG of uint8 [H,W,3] RGB."""
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert encoded
    return data.tobytes()


def open_source(video: str | None) -> tuple[Source, Callable[[], None]]:
    """The video named, else the sample clip; and how to close it."""
    if video is None:
        return SampleClip(), lambda: None
    source = Video(video)
    return source, source.close
