"""The sample clip: a still portrait made to move, for trying a server without a camera.

A cut-out person (``web/sample/astronaut.webp``: Eileen Collins, NASA, public
domain; the studio page uses the same file) pans and zooms before a drifting
sky. A frame is a function of the time alone, so a clip is the same every time.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Picture: TypeAlias = npt.NDArray[np.uint8]

_PERSON = Path(__file__).resolve().parents[1] / "web" / "sample" / "astronaut.webp"
_TOP_COLOUR, _BOTTOM_COLOUR = (10, 16, 36), (84, 80, 126)
_STARS = 110
_DRIFT_PX_S = 14.0


class SampleClip:
    """Frames of ``width`` x ``height`` pixels; stateless between calls of ``at``."""

    def __init__(self, width: int = 640, height: int = 360) -> None:
        self.width, self.height = width, height
        self._sky = _sky(width, height)
        self._person = _read_person()

    def at(self, seconds: float) -> Picture:
        """The frame at that time: uint8 [H,W,3] RGB."""
        drift = round(seconds * _DRIFT_PX_S) % self.width
        sky = np.roll(self._sky, -drift, axis=1)
        person = cv2.warpAffine(
            self._person, self._place(seconds), (self.width, self.height), flags=cv2.INTER_LINEAR
        )
        alpha = person[..., 3:]
        return np.rint(person[..., :3] + sky * (1.0 - alpha)).astype(np.uint8)

    def _place(self, seconds: float) -> npt.NDArray[np.float64]:
        """Where the person is: picture to frame, the lower edge at or below the frame's."""
        side = self.height * (1.02 + 0.07 * math.sin(seconds / 3.7))
        scale = side / self._person.shape[0]
        left = (self.width - side) / 2 + self.width / 14 * math.sin(seconds / 2.9)
        return np.array([[scale, 0.0, left], [0.0, scale, self.height - side]])


def _sky(width: int, height: int) -> npt.NDArray[np.float32]:
    """A gradient with stars that joins itself at the sides: float32 [H,W,3], 0..255."""
    down = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    top, bottom = np.array([_TOP_COLOUR, _BOTTOM_COLOUR], dtype=np.float32)
    sky = np.repeat((1 - down) * top + down * bottom, width, axis=1)
    random = np.random.default_rng(seed=7)
    stars = zip(
        random.integers(0, height, _STARS),
        random.integers(0, width, _STARS),
        random.uniform(60, 200, _STARS),
        strict=True,
    )
    for y, x, light in stars:
        sky[y, x] = np.minimum(255.0, sky[y, x] + light)
    return sky


def _read_person() -> npt.NDArray[np.float32]:
    """The cut-out, premultiplied: float32 [H,W,4], RGB 0..255 times alpha, alpha 0..1."""
    encoded = np.frombuffer(_PERSON.read_bytes(), dtype=np.uint8)
    picture = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    assert picture is not None
    rgba = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA).astype(np.float32)
    rgba[..., 3] /= 255.0
    rgba[..., :3] *= rgba[..., 3:]
    return rgba
