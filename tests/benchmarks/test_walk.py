"""The garbage whose walk is measured is what the door walks to its end."""

from __future__ import annotations

import pytest

from benchmarks.walk import GARBAGE
from ingress.settings import SessionLimits
from models.pictures.headers import read_header
from models.pictures.limits import ImageLimits

LIMITS = SessionLimits()


@pytest.mark.parametrize("name", GARBAGE)
def test_the_door_takes_it_and_it_is_as_large_as_a_frame_may_be(name: str) -> None:
    data = GARBAGE[name]()
    read_header(data, ImageLimits(LIMITS.max_frame_pixels, LIMITS.max_frame_bytes))
    assert len(data) > LIMITS.max_frame_bytes * 0.95
