"""What a header declares, and every picture that is refused because of it."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.pictures.headers import read_header
from models.pictures.jpeg import MAX_SCANS
from models.pictures.limits import FrameRejected, ImageLimits

LIMITS = ImageLimits(max_pixels=1_000_000, max_bytes=200_000)


def encoded(picture_format: str, size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    out = BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, picture_format, **options)
    return out.getvalue()


def png_declaring(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    rows = struct.pack(">I", 1) + b"IDAT\0\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + header + rows + b"\0\0\0\0IEND\xaeB`\x82"


def animated(picture_format: str) -> bytes:
    return encoded(picture_format, save_all=True, append_images=[Image.new("RGB", (40, 30))])


@pytest.mark.parametrize(
    ("picture_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
    ],
)
def test_the_declared_size_is_read(picture_format: str, options: dict[str, Any]) -> None:
    header = read_header(encoded(picture_format, (123, 45), **options), LIMITS)
    assert (header.width, header.height) == (123, 45)


def test_only_a_jpeg_without_exif_can_be_reduced() -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    assert read_header(encoded("JPEG"), LIMITS).reducible
    assert not read_header(encoded("JPEG", exif=rotated.tobytes()), LIMITS).reducible
    assert not read_header(encoded("PNG"), LIMITS).reducible


@pytest.mark.parametrize("data", [b"hello, this is no picture at all", b"GIF89a\1\0\1\0\0\0\0"])
def test_what_is_not_an_image_is_refused_and_the_formats_are_named(data: bytes) -> None:
    with pytest.raises(FrameRejected, match="not an image: send a JPEG, PNG or WebP"):
        read_header(data, LIMITS)


def test_zero_bytes_are_refused() -> None:
    with pytest.raises(FrameRejected, match="empty"):
        read_header(b"", LIMITS)


def test_too_many_bytes_are_refused_with_the_limit() -> None:
    with pytest.raises(FrameRejected, match="200,001 bytes; at most 200,000 are allowed"):
        read_header(b"\xff" * 200_001, LIMITS)


def test_too_many_pixels_are_refused_with_the_limit() -> None:
    with pytest.raises(FrameRejected, match=r"1,001 x 1,000 pixels; at most 1,000,000 are"):
        read_header(png_declaring(1001, 1000), LIMITS)


def test_a_png_that_declares_900_megapixels_costs_no_memory() -> None:
    bomb = png_declaring(30_000, 30_000)
    tracemalloc.start()
    with pytest.raises(FrameRejected, match="30,000 x 30,000"):
        read_header(bomb, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_side_too_long_for_an_encoder_is_refused() -> None:
    with pytest.raises(FrameRejected, match="at most 8,191 are allowed on a side"):
        read_header(png_declaring(60_000, 2), LIMITS)


def test_a_side_of_zero_is_refused() -> None:
    with pytest.raises(FrameRejected, match="neither side may be 0"):
        read_header(png_declaring(0, 5), LIMITS)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_anywhere_is_refused(picture_format: str) -> None:
    data = encoded(picture_format)
    for length in range(1, len(data) - 1):
        with pytest.raises(FrameRejected):
            read_header(data[:length], LIMITS)


def test_a_jpeg_cut_behind_its_thumbnail_is_refused() -> None:
    thumbnail = encoded("JPEG", (8, 8))
    whole = encoded("JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    with pytest.raises(FrameRejected, match="cut short"):
        read_header(whole[:2] + segment + whole[2:-2], LIMITS)


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_garbage_behind_a_whole_picture_is_no_fault(picture_format: str) -> None:
    assert read_header(encoded(picture_format) + b"garbage" * 9, LIMITS).width == 40


def test_an_animated_png_is_refused() -> None:
    with pytest.raises(FrameRejected, match="PNG is animated: send one picture per frame"):
        read_header(animated("PNG"), LIMITS)


def test_an_animated_webp_is_refused() -> None:
    with pytest.raises(FrameRejected, match="WebP is animated: send one picture per frame"):
        read_header(animated("WEBP"), LIMITS)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = encoded("JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    bomb = data[:-2] + last_scan * MAX_SCANS + b"\xff\xd9"
    with pytest.raises(FrameRejected, match=f"scans; at most {MAX_SCANS} are allowed"):
        read_header(bomb, LIMITS)


def test_a_jpeg_of_fill_bytes_alone_is_refused() -> None:
    with pytest.raises(FrameRejected, match="no frame header"):
        read_header(b"\xff\xd8" + b"\xff" * 50_000, LIMITS)
    with pytest.raises(FrameRejected, match="little but markers"):
        read_header(b"\xff\xd8" + b"\xff" * 100_000, LIMITS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda: encoded("JPEG")[:2] + b"\x12\x34" + encoded("JPEG")[4:],
        lambda: encoded("PNG").replace(b"IHDR", b"JUNK"),
        lambda: encoded("WEBP").replace(b"VP8 ", b"JUNK"),
    ],
    ids=["jpeg", "png", "webp"],
)
def test_a_damaged_header_is_refused(damage: Callable[[], bytes]) -> None:
    with pytest.raises(FrameRejected):
        read_header(damage(), LIMITS)


@given(
    picture_format=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    at=st.floats(0, 1, exclude_max=True),
    patch=st.binary(min_size=1, max_size=8),
)
def test_any_damage_is_a_header_or_a_refusal(picture_format: str, at: float, patch: bytes) -> None:
    data = bytearray(encoded(picture_format))
    start = int(at * len(data))
    data[start : start + len(patch)] = patch
    try:
        header = read_header(bytes(data), LIMITS)
    except FrameRejected:
        return
    assert 0 < header.width * header.height <= LIMITS.max_pixels
