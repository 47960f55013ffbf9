from __future__ import annotations

from typing import get_args

import pytest

from models.pictures.palette import palette
from models.view import Colormap


@pytest.mark.parametrize("colormap", get_args(Colormap))
def test_a_colormap_gives_every_class_a_colour_of_its_own(colormap: Colormap) -> None:
    own = ((0, 0, 0), *((9, 9, c) for c in range(5)))
    colours = palette(own, colormap)
    assert colours[0] == own[0]
    assert len(set(colours)) == len(own)
