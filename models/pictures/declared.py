"""The pixels that a picture declares, for who counts them long before anyone decodes it.

Next to no cost, whatever the file: three numbers of a PNG's or WebP's first bytes, and the
segments before a JPEG's frame header, which are as few as the door allows. Nothing is refused
here; a file whose size is not found is one that ``models.pictures.headers`` refuses.
"""

from __future__ import annotations

import struct

from models.pictures.jpeg import size_of_jpeg
from models.pictures.limits import FrameRejected
from models.pictures.png import SIGNATURE
from models.pictures.webp import size_of_webp


def declared_pixels(data: bytes) -> int:
    """Width times height as the header has them; 0 where there are none."""
    try:
        width, height = _size(data)
    except (struct.error, IndexError, FrameRejected):
        return 0
    return width * height


def _size(data: bytes) -> tuple[int, int]:
    if data.startswith(SIGNATURE):
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if data[:4] == b"RIFF":
        return size_of_webp(data)
    return size_of_jpeg(data)
