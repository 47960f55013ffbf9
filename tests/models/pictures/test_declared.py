"""The pixels that a picture declares, at next to no cost."""

from __future__ import annotations

import time
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.pictures.declared import declared_pixels
from models.pictures.headers import read_header
from models.pictures.limits import FrameRejected, ImageLimits

LIMITS = ImageLimits(max_pixels=10**8, max_bytes=10**8)


def saved(picture_format: str, **options: object) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48)).save(out, picture_format, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("picture_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"icc_profile": bytes(1_000_000)}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(100)}),
    ],
)
def test_they_are_those_of_the_header(picture_format: str, options: dict[str, object]) -> None:
    assert declared_pixels(saved(picture_format, **options)) == 64 * 48


@given(
    data=st.binary(max_size=200), start=st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF", b"\x89PNG"])
)
def test_of_anything_there_is_a_number_and_none_that_the_door_takes_is_zero(
    data: bytes, start: bytes
) -> None:
    pixels = declared_pixels(start + data)
    assert pixels >= 0
    try:
        header = read_header(start + data, LIMITS)
    except FrameRejected:
        return
    assert pixels == header.width * header.height


@pytest.mark.parametrize(
    "filler",
    [b"\xff" * 1000 + b"\xfe\0\2", b"\xff\xfe\0\2", b"\xff", bytes(4)],
    ids=["fill", "segments", "ff", "0"],
)
def test_no_file_makes_it_dear(filler: bytes) -> None:
    data = b"\xff\xd8" + filler * ((4 << 20) // len(filler))
    best = min(_took_s(data) for _ in range(5))
    whole = min(_took_s(data, bytes.hex) for _ in range(5))  # once over the file, at C's speed
    assert best < whole


def _took_s(data: bytes, work: object = declared_pixels) -> float:
    begun = time.thread_time()
    work(data)  # type: ignore[operator]
    return time.thread_time() - begun
