"""A label map: the one class of each pixel, uint8 [H,W], at any size.

It is made of a network's output, float32 [C,h,w] on 0..1: of two classes the foreground
alone, otherwise a plane per class with class 0 the background. Classes are compared in 8
bits, in which they are enlarged too. Small ones travel with every result, for statistics:
8-bit grey PNGs whose pixel is the class id.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pictures import png
from models.pictures.headers import read_header
from models.pictures.images import Pixels, Size, as_pixels, fitted, resized
from models.pictures.limits import FrameRejected, ImageLimits

Probabilities = NDArray[np.float32]

THUMBNAIL_SIDE = 64


def class_count(planes: Probabilities) -> int:
    """How many classes, the background included, a network's output [C,h,w] tells apart."""
    return max(2, len(planes))


def label_map(planes: Probabilities, size: Size | None = None) -> Pixels:
    """The most probable class of each pixel, uint8 [H,W]; a tie goes to the lower id.

    ``planes`` are a network's output [C,h,w]; ``size`` enlarges them first, None keeps the
    network's resolution.
    """
    size = size or planes.shape[1:]
    if class_count(planes) == 2:
        return _threshold(resized(as_levels(planes[-1]), size))
    best = resized(as_levels(planes[0]), size)
    labels = np.zeros(size, np.uint8)
    for c in range(1, len(planes)):
        plane = as_levels(planes[c])
        # Interpolation adds no maximum, so a plane that stays below 1/n wins nowhere.
        if int(plane.max()) < 255 // len(planes):
            continue
        plane = resized(plane, size)
        np.copyto(labels, np.uint8(c), where=plane > best)
        np.maximum(best, plane, out=best)
    return labels


def shares(labels: Pixels, classes: int) -> tuple[tuple[int, float], ...]:
    """(class id, share of the frame 0..1) of each of ``classes`` that is present, ascending.

    The network sees the frame stretched evenly, so its pixels stand for equal parts of it.
    """
    found = np.count_nonzero(labels)
    counts = [labels.size - found, found]
    if classes > 2:
        counts[1:] = (np.count_nonzero(labels == c) for c in range(1, classes))
    return tuple((c, int(count) / labels.size) for c, count in enumerate(counts) if count)


def thumbnail(labels: Pixels, size: Size) -> Pixels:
    """A label map in the proportions of a frame of ``size``, longest side at most 64."""
    return resized(labels, fitted(size, THUMBNAIL_SIDE), cv2.INTER_NEAREST)


def encode_label_map(labels: Pixels) -> bytes:
    """Encode a label map, uint8 [H,W], as 8-bit grey PNG whose pixel is the class id."""
    return png.eight_bit(labels)


def decode_label_map(data: bytes) -> Pixels:
    """The label map, uint8 [H,W], that ``encode_label_map`` wrote.

    Raises:
        ValueError: ``data`` is not a PNG of at most ``THUMBNAIL_SIDE`` pixels on a side.
    """
    limits = ImageLimits(max_pixels=THUMBNAIL_SIDE**2, max_bytes=2 * THUMBNAIL_SIDE**2)
    read_header(data, limits)
    labels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if labels is None:
        raise FrameRejected("the label map is damaged and cannot be decoded")
    return as_pixels(labels)


def as_levels(weights: Probabilities) -> Pixels:
    """Weights [h,w] on 0..1 as uint8 on 0..255, rounded."""
    return as_pixels(cv2.convertScaleAbs(weights, alpha=255))


def _threshold(plane: Pixels) -> Pixels:
    """1 where a probability, uint8, is over one half, else 0."""
    return as_pixels(cv2.threshold(plane, 127, 1, cv2.THRESH_BINARY)[1])
