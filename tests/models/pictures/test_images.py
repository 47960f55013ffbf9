"""Decoding to upright RGB, reduced scales, and every encoding read back."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from PIL import Image

from models.pictures.headers import read_header
from models.pictures.images import (
    Frame,
    Pixels,
    decode,
    encode_mask,
    encode_matte,
    encode_picture,
    fitted,
    stretched,
)
from models.pictures.limits import FrameRejected, ImageLimits
from models.view import PictureFormat

LIMITS = ImageLimits(max_pixels=4_000_000, max_bytes=4_000_000)
WHOLE = (8191, 8191)
PORTRAIT = Image.open(Path(__file__).parents[2] / "data" / "astronaut.png").convert("RGB")
SMALL = PORTRAIT.resize((64, 48))
RGB = np.asarray(SMALL)
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))


def saved(picture: Image.Image, picture_format: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, picture_format, **options)
    return out.getvalue()


def decoded(data: bytes, at_least: tuple[int, int] = WHOLE) -> Frame:
    return decode(data, read_header(data, LIMITS), at_least)


def reread(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def off_by(first: Pixels, second: Any) -> float:
    """Mean absolute difference, in levels of 0..255."""
    return float(np.abs(first.astype(int) - np.asarray(second).astype(int)).mean())


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (saved(SMALL, "PNG"), 0),
        (saved(SMALL, "WEBP", lossless=True), 0),
        (saved(SMALL, "JPEG", quality=95, subsampling=0), 3),
        (saved(SMALL, "JPEG", quality=95, subsampling=0, progressive=True), 3),
        (saved(SMALL.convert("CMYK"), "JPEG", quality=95), 3),
    ],
    ids=["png", "webp", "jpeg", "progressive jpeg", "cmyk jpeg"],
)
def test_colours_arrive_in_rgb_order(data: bytes, tolerance: float) -> None:
    frame = decoded(data)
    assert frame.pixels.dtype == np.uint8
    assert frame.size == (48, 64)
    assert off_by(frame.pixels, RGB) <= tolerance


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG"])
def test_grey_becomes_three_equal_channels(picture_format: str) -> None:
    pixels = decoded(saved(SMALL.convert("L"), picture_format)).pixels
    assert pixels.shape == (48, 64, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_a_palette_becomes_its_colours() -> None:
    indexed = SMALL.quantize(16)
    assert off_by(decoded(saved(indexed, "PNG")).pixels, indexed.convert("RGB")) == 0


@pytest.mark.parametrize("picture_format", ["PNG", "WEBP"])
def test_alpha_is_dropped_and_the_colours_below_it_stay(picture_format: str) -> None:
    clear = SMALL.copy()
    clear.putalpha(0)
    data = saved(clear, picture_format, lossless=True, exact=True)
    assert off_by(decoded(data).pixels, RGB) == 0


def test_sixteen_bits_become_eight() -> None:
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    data = cv2.imencode(".png", levels)[1].tobytes()
    assert off_by(decoded(data).pixels[..., 0], levels // 257) <= 1


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(picture_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to view
    frame = decoded(saved(SMALL, picture_format, exif=exif.tobytes()), at_least=(8, 8))
    assert frame.size == (64, 48)
    assert off_by(frame.pixels, SMALL.rotate(-90, expand=True)) < 8


@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_one_pixel_is_a_frame(picture_format: str) -> None:
    assert decoded(saved(SMALL.resize((1, 1)), picture_format)).pixels.shape == (1, 1, 3)


def test_damage_behind_a_sound_header_is_refused() -> None:
    data = bytearray(saved(SMALL, "PNG"))
    pixels = data.index(b"IDAT") + 4
    data[pixels : pixels + 30] = bytes(30)
    with pytest.raises(FrameRejected, match="damaged"):
        decoded(bytes(data))


@pytest.mark.parametrize(
    ("at_least", "expected"),
    [
        ((66, 33), (130, 256)),
        ((64, 64), (65, 128)),
        ((33, 64), (33, 64)),
        ((17, 32), (17, 32)),
        ((1, 1), (17, 32)),
        ((256, 256), (130, 256)),
    ],
)
def test_a_jpeg_is_reduced_as_far_as_the_need_allows(
    at_least: tuple[int, int], expected: tuple[int, int]
) -> None:
    frame = decoded(saved(PORTRAIT.resize((256, 130)), "JPEG"), at_least)
    reached = frame.pixels.shape[:2]
    assert frame.size == (130, 256)
    assert reached == expected


def test_a_reduced_jpeg_keeps_its_colours() -> None:
    frame = decoded(saved(PORTRAIT, "JPEG", quality=95), at_least=(256, 256))
    assert off_by(frame.pixels, PORTRAIT.resize((256, 256), Image.Resampling.BOX)) < 3


@pytest.mark.parametrize("size", [(256, 256), (144, 256), (700, 700)])
def test_stretching_gives_the_exact_size(size: tuple[int, int]) -> None:
    assert stretched(np.asarray(PORTRAIT), size).shape == (*size, 3)


def test_stretching_averages_what_it_leaves_out() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 200
    assert set(stretched(stripes, (8, 8)).ravel().tolist()) == {100}


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((480, 640), None, (480, 640)),
        ((480, 640), 640, (480, 640)),
        ((480, 640), 320, (240, 320)),
        ((480, 640), 1000, (480, 640)),
        ((8000, 2), 64, (64, 1)),
    ],
)
def test_fitting_shrinks_in_proportion_and_never_enlarges(
    size: tuple[int, int], max_side: int | None, expected: tuple[int, int]
) -> None:
    assert fitted(size, max_side) == expected


@pytest.mark.parametrize(("picture_format", "tolerance"), [("jpeg", 8), ("png", 0), ("webp", 8)])
def test_a_picture_reads_back_in_its_format(picture_format: str, tolerance: float) -> None:
    made = encode_picture(RGB, cast(PictureFormat, picture_format), 90)
    picture = reread(made.data)
    assert (made.media_type, made.width, made.height) == (f"image/{picture_format}", 64, 48)
    assert Image.MIME[str(picture.format)] == made.media_type
    assert off_by(RGB, picture.convert("RGB")) <= tolerance


@pytest.mark.parametrize("picture_format", ["jpeg", "webp"])
def test_quality_buys_bytes(picture_format: str) -> None:
    low, high = (encode_picture(RGB, cast(PictureFormat, picture_format), q) for q in (10, 95))
    assert len(low.data) < len(high.data)


@pytest.mark.parametrize("picture_format", ["png", "webp"])
def test_transparency_reads_back(picture_format: str) -> None:
    alpha = np.full((48, 64, 1), 77, np.uint8)
    made = encode_picture(np.dstack((RGB, alpha)), cast(PictureFormat, picture_format), 90)
    assert np.asarray(reread(made.data))[0, 0, 3] == 77


def test_a_mask_of_two_classes_is_bilevel() -> None:
    labels = (RGB[..., 0] > 99).astype(np.uint8)
    mask = reread(encode_mask(labels, PALETTE[:2]).data)
    assert mask.mode == "1"
    assert (np.asarray(mask) == labels).all()


def test_a_mask_of_more_classes_is_a_palette_whose_index_is_the_class() -> None:
    labels = RGB[..., 0] // 64
    made = encode_mask(labels, PALETTE)
    mask = reread(made.data)
    assert (made.media_type, mask.mode) == ("image/png", "P")
    assert (np.asarray(mask) == labels).all()
    assert (np.asarray(mask.convert("RGB")) == np.asarray(PALETTE)[labels]).all()


def test_a_matte_is_a_grey_png() -> None:
    made = encode_matte(RGB[..., 1], "jpeg", 80)
    assert (made.media_type, reread(made.data).mode) == ("image/png", "L")
    assert off_by(RGB[..., 1], reread(made.data)) == 0


def test_a_matte_is_a_webp_where_webp_is_wanted() -> None:
    made = encode_matte(RGB[..., 1], "webp", 90)
    assert (made.media_type, reread(made.data).format) == ("image/webp", "WEBP")
    assert off_by(RGB[..., 1], reread(made.data).convert("L")) < 8
