"""A PNG's chunks, walked before a decoder sees one (PNG 3rd edition §5 and §11).

The decoder is given a PNG that was written here: header, palette, and the rows, inflated once
to exactly the bytes that the header declares and stored without compression. So no text, no
profile and no stream of zlib is inflated in it, none can be longer than the picture, and it
finds nothing to complain about on stderr.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from zlib_ng import zlib_ng

from models.pictures import exif
from models.pictures.cost import png_ms
from models.pictures.limits import FrameRejected, Header
from models.pictures.png import SIGNATURE, chunk

MAX_CHUNKS = 4096  # libpng writes one for each 8 KiB
_DAMAGED = "the PNG is damaged or cut short: send it whole"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# §8.1: where each pass of Adam7 begins and how far it steps, across and down.
_ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2),
          (0, 1, 1, 2))  # fmt: skip

Rows = tuple[int, int]  # bytes of a row with its filter's, count of rows


def read_png(data: bytes) -> Header:
    """The header; raises FrameRejected, or struct.error where it ends inside a chunk."""
    if data[8:16] != b"\0\0\0\rIHDR":
        raise FrameRejected(_DAMAGED)
    width, height, depth, colour, packing, filtering, interlace = _header(data)
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlace > 1:
        raise FrameRejected("the PNG has a header that there is not: encode it again")
    turned, has_rows, has_palette = 1, False, False
    for kind, at, length in _chunks(data):
        if kind in (b"acTL", b"fcTL", b"fdAT"):
            raise FrameRejected("the PNG is animated: send one picture per frame")
        if kind == b"eXIf" and length <= exif.MAX_BYTES:
            turned = exif.orientation(data[at : at + length])
        has_rows |= kind == b"IDAT" and length > 0
        has_palette |= kind == b"PLTE" and not has_rows
    if not has_rows or (colour == 3 and not has_palette):
        raise FrameRejected(_DAMAGED)
    inflated = sum(row * count for row, count in _rows(data))
    work_ms = png_ms(width * height, inflated, interlaced=interlace == 1)
    return Header("PNG", width, height, work_ms, turned)


def rewritten(data: bytes) -> bytes:
    """The plain PNG of a picture whose header was read.

    Raises:
        FrameRejected: its rows are not what the header declares.
    """
    header = data[16:29]
    palette = b""
    idat: list[bytes] = []
    for kind, at, length in _chunks(data):
        if kind == b"PLTE" and not idat:
            palette = data[at : at + length]
        elif kind == b"IDAT":
            idat.append(data[at : at + length])
    rows = _inflated(b"".join(idat), _rows(data))
    parts = [SIGNATURE, chunk(b"IHDR", header)]
    if header[9] == 3:
        parts.append(chunk(b"PLTE", _filled(palette, header[8])))
    stored = zlib_ng.compress(rows, 0)
    return b"".join((*parts, chunk(b"IDAT", stored), chunk(b"IEND", b"")))


def _filled(palette: bytes, depth: int) -> bytes:
    """A colour for each index that a row can hold: black where the palette has none."""
    whole = 3 << depth
    return (palette[: len(palette) // 3 * 3] + b"\0" * whole)[:whole]


def _inflated(stream: bytes, passes: list[Rows]) -> bytes:
    length = sum(row * count for row, count in passes)
    try:
        rows = zlib_ng.decompressobj().decompress(stream, length + 1)[:length]
    except zlib_ng.error as error:  # type: ignore[misc]
        raise FrameRejected(_DAMAGED) from error
    if len(rows) < length:
        raise FrameRejected(_DAMAGED)
    at = 0
    for row, count in passes:
        if max(rows[at : at + row * count : row]) > 4:
            raise FrameRejected(_DAMAGED)
        at += row * count
    return rows


def _header(data: bytes) -> tuple[int, int, int, int, int, int, int]:
    return struct.unpack_from(">IIBBBBB", data, 16)


def _rows(data: bytes) -> list[Rows]:
    """Of each pass that has pixels."""
    width, height, depth, colour, _, _, interlace = _header(data)
    bits = depth * _CHANNELS[colour]
    sizes = [(width, height)]
    if interlace:
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, dx, y, dy in _ADAM7]
    return [(1 + (w * bits + 7) // 8, h) for w, h in sizes if w > 0 and h > 0]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset of the body, length, up to IEND."""
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            raise FrameRejected(_DAMAGED)
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise FrameRejected(_DAMAGED)
        if kind == b"IEND":
            return
        yield kind, at + 8, length
        at += 12 + length
    raise FrameRejected(f"the PNG has more than {MAX_CHUNKS:,} chunks: encode it again")
