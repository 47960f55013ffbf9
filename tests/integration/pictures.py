"""Pictures that the integration tests send, and how masks are compared."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.sample import SampleClip

DATA = Path(__file__).resolve().parents[1] / "data"

Pixels = NDArray[np.uint8]


def astronaut() -> Pixels:
    """The portrait, uint8 [512,512,3] RGB."""
    return read((DATA / "astronaut.png").read_bytes(), cv2.IMREAD_COLOR_RGB)


def jpeg(picture: Pixels, quality: int = 90) -> bytes:
    return encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def png(picture: Pixels) -> bytes:
    return encoded(".png", picture, [])


def encoded(suffix: str, picture: Pixels, parameters: list[int]) -> bytes:
    """RGB (or one plane) in the file format of ``suffix``."""
    flipped = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(suffix, flipped, parameters)
    assert done
    return buffer.tobytes()


def moving(count: int, width: int = 640, height: int = 480) -> list[Pixels]:
    """Frames of the sample clip, a third of a second apart."""
    clip = SampleClip(width, height)
    return [clip.at(i / 3) for i in range(count)]


def decoded(data: bytes) -> Pixels:
    """A mask as label map, uint8 [H,W]: a palette PNG by its indices, a bilevel one as 0 and 1."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image).astype(np.uint8)


def read(data: bytes, flag: int) -> Pixels:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    assert image is not None
    return image.astype(np.uint8, copy=False)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union; 1.0 for two empty masks."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
