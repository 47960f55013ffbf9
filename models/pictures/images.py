"""Pictures as bytes: the way into pixels, and the encodings of a payload on the way out.

What ``models.pictures.headers`` lets through becomes uint8 [H,W,3] RGB, upright: EXIF rotation
is applied, 16 bits become 8, grey and palettes become RGB, CMYK is read by Adobe's
convention (inverted) as browsers do, and alpha is dropped, not composited.

Sizes are (height, width) in pixels. Times are medians at 640 x 480 on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from models.catalog import RGB
from models.pictures import png
from models.pictures.chunks import rewritten
from models.pictures.limits import Format, FrameRejected, Header
from models.pictures.webp import picture_alone
from models.view import PictureFormat

Pixels = NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: uint8 [h,w,3] RGB, and the size of the frame it stands for."""

    pixels: Pixels
    size: Size


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload, its media type, and its size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def decode(data: bytes, header: Header, at_least: Size) -> Frame:
    """Decode a picture whose header was read, at a reduced scale where that is enough.

    ``at_least``: the size that the pixels must reach on both sides, unless the whole
    picture is smaller. The frame's ``size`` is that of the whole picture all the same.

    Raises:
        FrameRejected: the decoder cannot make a picture of it.
    """
    divisor = next((d for d in _DIVISORS if _reaches(header, d, at_least)), 1)
    try:
        pixels = _upright(_DECODERS[header.format](data, header, divisor), header.orientation)
    except FrameRejected:
        raise
    except (cv2.error, ValueError) as error:
        raise FrameRejected(_UNSAMPLED if "subsampling" in str(error) else _DAMAGED) from error
    height, width = pixels.shape[:2]
    return Frame(pixels, (height, width) if divisor == 1 else (header.height, header.width))


_DAMAGED = "the frame is damaged and cannot be decoded: encode it again"
_UNSAMPLED = "the JPEG's colours are sampled in a way that is not read: send 4:2:0 or 4:4:4"
_DIVISORS = (8, 4, 2)  # libjpeg rounds the sides up


def _decode_jpeg(data: bytes, header: Header, divisor: int) -> Pixels:
    """By TurboJPEG: as OpenCV's own libjpeg decodes, but it writes nothing to stderr."""
    height, width = -(-header.height // divisor), -(-header.width // divisor)
    colours = "CMYK" if header.channels == 4 else "RGB"
    scale = {"min_height": height, "min_width": width, "min_factor": divisor}
    pixels = as_pixels(simplejpeg.decode_jpeg(data, colours, strict=False, **scale))
    return pixels if header.channels != 4 else _from_cmyk(pixels)


def _from_cmyk(pixels: Pixels) -> Pixels:
    inks, black = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return (black - ((255 - inks) * black >> 8)).astype(np.uint8)


def _decode_png(data: bytes, _header: Header, _divisor: int) -> Pixels:
    return _imdecode(rewritten(data))


def _decode_webp(data: bytes, _header: Header, _divisor: int) -> Pixels:
    return _imdecode(picture_alone(data))


def _imdecode(data: bytes) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ValueError("not decoded")
    return as_pixels(pixels)


_DECODERS: Mapping[Format, Callable[[bytes, Header, int], Pixels]] = MappingProxyType(
    {"JPEG": _decode_jpeg, "PNG": _decode_png, "WebP": _decode_webp}
)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """EXIF 2.3, tag 0x0112: 5 to 8 are transposed, the others mirrored along their axes."""
    if orientation >= 5:
        pixels = as_pixels(cv2.transpose(pixels))
    axis = _FLIPS.get(orientation)
    return pixels if axis is None else as_pixels(cv2.flip(pixels, axis))


_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # in OpenCV's words: 1 across, 0 down, -1 both


def _reaches(header: Header, divisor: int, at_least: Size) -> bool:
    height, width = at_least
    return (
        header.reducible
        and -(-header.height // divisor) >= height
        and -(-header.width // divisor) >= width
    )


def stretched(pixels: Pixels, size: Size) -> Pixels:
    """``pixels`` at exactly ``size``, as a network wants them; aspect is not kept.

    Plain bilinear, as MediaPipe feeds these networks: averaging first costs `person-wide` 4 %
    of IoU with its reference on the portrait. From four times the size on, where bilinear
    would skip most pixels, the picture is halved before: 0.2 ms from 640 x 480, against
    1.8 ms for INTER_AREA.
    """
    height, width = size
    while pixels.shape[0] >= 4 * height and pixels.shape[1] >= 4 * width:
        pixels = resized(pixels, (pixels.shape[0] // 2, pixels.shape[1] // 2))
    return resized(pixels, size)


def fitted(size: Size, max_side: int | None) -> Size:
    """``size`` shrunk in proportion until its longest side is at most ``max_side``."""
    longest = max(size)
    if max_side is None or longest <= max_side:
        return size
    height, width = (max(1, side * max_side // longest) for side in size)
    return height, width


def encode_picture(pixels: Pixels, picture_format: PictureFormat, quality: int) -> Encoded:
    """Encode uint8 [H,W,3] RGB, or [H,W,4] RGBA where the format is not JPEG.

    ``quality`` 1..100 is for JPEG and WebP; a PNG is exact.
    """
    flip = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    flipped = as_pixels(cv2.cvtColor(pixels, flip))
    return _described(_by_format(flipped, picture_format, quality), picture_format, pixels)


def encode_mask(labels: Pixels, palette: Sequence[RGB]) -> Encoded:
    """Encode a label map, uint8 [H,W], as PNG: bilevel for two classes, else a palette.

    A pixel of the bilevel PNG is black for class 0 and white for class 1; a pixel of the
    palette PNG is the index of its class, and ``palette`` its colours.
    """
    if len(palette) > 2:
        data = png.eight_bit(labels, bytes(channel for colour in palette for channel in colour))
    else:
        data = png.bilevel(labels)
    return _described(data, "png", labels)


def encode_matte(matte: Pixels, picture_format: PictureFormat, quality: int) -> Encoded:
    """Encode a matte, uint8 [H,W], 255 where the frame shows: WebP if asked for, else grey PNG."""
    if picture_format == "webp":
        return _described(_by_format(matte, "webp", quality), "webp", matte)
    return _described(png.eight_bit(matte), "png", matte)


def resized(pixels: Pixels, size: Size, interpolation: int = cv2.INTER_LINEAR) -> Pixels:
    if pixels.shape[:2] == size:
        return pixels
    return as_pixels(cv2.resize(pixels, size[::-1], interpolation=interpolation))


_PARAMETERS: dict[PictureFormat, tuple[str, Callable[[int], list[int]]]] = {
    "jpeg": (".jpg", lambda quality: [cv2.IMWRITE_JPEG_QUALITY, quality]),
    # Run lengths alone: 12 ms for 640 x 480, against 21 ms for zlib's fastest search.
    "png": (".png", lambda _: [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]),
    "webp": (".webp", lambda quality: [cv2.IMWRITE_WEBP_QUALITY, quality]),
}


def _described(data: bytes, picture_format: PictureFormat, pixels: Pixels) -> Encoded:
    height, width = pixels.shape[:2]
    return Encoded(data, f"image/{picture_format}", width, height)


def _by_format(pixels: Pixels, picture_format: PictureFormat, quality: int) -> bytes:
    suffix, parameters = _PARAMETERS[picture_format]
    return _imencode(suffix, pixels, parameters(quality))


def _imencode(suffix: str, pixels: Pixels, parameters: list[int]) -> bytes:
    done, buffer = cv2.imencode(suffix, pixels, parameters)
    assert done, suffix
    return buffer.tobytes()


def as_pixels(array: NDArray[Any]) -> Pixels:
    """OpenCV's stubs leave the element type open; every array here holds uint8."""
    assert array.dtype == np.uint8, array.dtype
    return array
