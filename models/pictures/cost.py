"""What it costs to decode a picture and to draw a result: milliseconds of one core, foretold.

Of the decoding, from its container: upper bounds, from the dearest file of each kind
(``python -m benchmarks.pictures``), which is made again there and held against them. A bound is
linear: so much for each sample of the decoder's own grid, each byte it inflates or reads, and each
pass over the picture. Of the drawing, from the size and the format of what is drawn: what a
photograph costs, for what is in a picture is not known yet. Noise costs a third more as a PNG, and
up to four times as much as a WebP.
"""

from __future__ import annotations

from models.view import PictureFormat

# Nanoseconds.
_JPEG_SAMPLE = 3.0  # transform, colours
_JPEG_SCAN_SAMPLE = 1.3  # of each scan of a picture that has several: coefficients wait in memory
_JPEG_BYTE = 14.0  # Huffman codes
_PNG_BYTE = 11.0  # of the rows, inflated: zlib, copy, filter
_PNG_PIXEL = 14.0  # to RGB
_PNG_INTERLACED_PIXEL = 6.0  # on top
_WEBP_PIXEL = 11.0
_WEBP_BYTE = 85.0  # arithmetic codes
_WEBP_LOSSLESS_PIXEL = 30.0
_WEBP_LOSSLESS_BYTE = 25.0
_DRAWN_PIXEL = 10.0
_ENCODED_PIXEL: dict[PictureFormat, float] = {"jpeg": 8.0, "png": 65.0, "webp": 110.0}


def jpeg_ms(samples: int, scans: int, size_bytes: int) -> float:
    """``samples``: of all components, each side padded to whole units of coding."""
    passes = _JPEG_SCAN_SAMPLE * scans if scans > 1 else 0.0
    return (samples * (_JPEG_SAMPLE + passes) + size_bytes * _JPEG_BYTE) / 1e6


def png_ms(pixels: int, rows_bytes: int, *, interlaced: bool) -> float:
    """``rows_bytes``: of all rows, filter bytes included."""
    pixel = _PNG_PIXEL + (_PNG_INTERLACED_PIXEL if interlaced else 0.0)
    return (pixels * pixel + rows_bytes * _PNG_BYTE) / 1e6


def webp_ms(pixels: int, size_bytes: int, *, lossless: bool) -> float:
    pixel, byte = (
        (_WEBP_LOSSLESS_PIXEL, _WEBP_LOSSLESS_BYTE) if lossless else (_WEBP_PIXEL, _WEBP_BYTE)
    )
    return (pixels * pixel + size_bytes * byte) / 1e6


def overlay_ms(pixels: int, picture_format: PictureFormat) -> float:
    """Of drawing an overlay of so many pixels, and of encoding it."""
    return pixels * (_DRAWN_PIXEL + _ENCODED_PIXEL[picture_format]) / 1e6
