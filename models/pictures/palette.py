"""The palette of a view: one colour per class, from the mode's own or a named colormap."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import cv2
import numpy as np

from models.catalog import RGB
from models.view import Colormap

_COLORMAPS: Mapping[Colormap, int] = MappingProxyType(
    {
        "turbo": cv2.COLORMAP_TURBO,
        "viridis": cv2.COLORMAP_VIRIDIS,
        "plasma": cv2.COLORMAP_PLASMA,
        "rainbow": cv2.COLORMAP_RAINBOW,
        "bone": cv2.COLORMAP_BONE,
    }
)


@lru_cache(maxsize=64)
def palette(own: tuple[RGB, ...], colormap: Colormap) -> tuple[RGB, ...]:
    """One colour per class: the mode's ``own``, or a named map sampled evenly.

    The background keeps its own colour under every map.
    """
    if colormap == "catalog":
        return own
    count = len(own) - 1
    levels = ((np.arange(count) + 0.5) * 255 / count).astype(np.uint8)
    sampled = cv2.applyColorMap(levels, _COLORMAPS[colormap]).reshape(count, 3)
    return (own[0], *((int(r), int(g), int(b)) for b, g, r in sampled))
