"""PNGs of sides that fill no byte, read back by another library."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from models.pictures import png


@pytest.mark.parametrize("width", [1, 7, 8, 13])
def test_a_bilevel_png_is_black_where_there_is_nothing(width: int) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (5, width), np.uint8)
    picture = Image.open(BytesIO(png.bilevel(labels)))
    assert picture.mode == "1"
    assert (np.asarray(picture) == labels).all()


@pytest.mark.parametrize(("palette", "mode"), [(b"", "L"), (bytes(range(255)), "P")])
def test_an_eight_bit_png_keeps_every_value(palette: bytes, mode: str) -> None:
    plane = np.random.default_rng(2).integers(0, 85, (5, 13), np.uint8)
    picture = Image.open(BytesIO(png.eight_bit(plane, palette)))
    assert picture.mode == mode
    assert (np.asarray(picture) == plane).all()
