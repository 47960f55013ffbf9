"""A WebP's chunks, walked before a decoder sees one (RFC 9649 §2), and its picture alone.

The decoder is given the one chunk that holds the pixels: alpha is dropped in any case, and
profiles and metadata are nobody's but the sender's. So the size that counts is that chunk's
own, not a canvas that claims another.
"""

from __future__ import annotations

import struct

from models.pictures import exif
from models.pictures.cost import webp_ms
from models.pictures.limits import FrameRejected, Header

MAX_CHUNKS = 64
_ANIMATED = 0x02
_PIXELS = (b"VP8 ", b"VP8L")


def read_webp(data: bytes) -> Header:
    """The header; raises FrameRejected, or struct.error where it ends inside a chunk."""
    chunks = _chunks(data)
    first = next(iter(chunks), b"")
    if first not in (*_PIXELS, b"VP8X"):
        raise FrameRejected("the WebP starts with no picture: encode it again")
    if b"ANIM" in chunks or b"ANMF" in chunks or (first == b"VP8X" and data[20] & _ANIMATED):
        raise FrameRejected("the WebP is animated: send one picture per frame")
    kind = _pixels(chunks)
    width, height = _size(data, chunks, kind)
    if first == b"VP8X" and _canvas(data) != (width, height):
        raise FrameRejected("the WebP's canvas is not its picture's: encode it again")
    turned = 1
    if b"EXIF" in chunks:
        begins, size = chunks[b"EXIF"]
        turned = exif.orientation(data[begins : begins + min(size, exif.MAX_BYTES)])
    work_ms = webp_ms(width * height, chunks[kind][1], lossless=kind == b"VP8L")
    return Header("WebP", width, height, work_ms, turned)


def size_of_webp(data: bytes) -> tuple[int, int]:
    """Width and height of its picture; raises as ``read_webp``."""
    chunks = _chunks(data)
    return _size(data, chunks, _pixels(chunks))


def picture_alone(data: bytes) -> bytes:
    """The simple WebP of a picture whose header was read."""
    chunks = _chunks(data)
    kind = _pixels(chunks)
    at, length = chunks[kind]
    body = data[at : at + length] + b"\0" * (length % 2)
    return b"".join(
        (b"RIFF", struct.pack("<I", 12 + len(body)), b"WEBP", kind, struct.pack("<I", length), body)
    )


def _pixels(chunks: dict[bytes, tuple[int, int]]) -> bytes:
    for kind in _PIXELS:
        if kind in chunks:
            return kind
    raise FrameRejected("the WebP has no picture: encode it again")


def _size(data: bytes, chunks: dict[bytes, tuple[int, int]], kind: bytes) -> tuple[int, int]:
    at, _ = chunks[kind]
    return _lossy(data, at) if kind == b"VP8 " else _lossless(data, at)


def _chunks(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Where the first chunk of each kind begins, and its length, in the order of the file."""
    (length,) = struct.unpack_from("<I", data, 4)
    end, at = length + 8, 12
    if end > len(data):
        raise FrameRejected("the WebP is cut short: send it whole")
    chunks: dict[bytes, tuple[int, int]] = {}
    for _ in range(MAX_CHUNKS + 1):
        if at + 8 > end:
            return chunks
        kind, size = struct.unpack_from("<4sI", data, at)
        if at + 8 + size > end:
            raise FrameRejected("the WebP is cut short: send it whole")
        chunks.setdefault(kind, (at + 8, size))
        at += 8 + size + size % 2
    raise FrameRejected(f"the WebP has more than {MAX_CHUNKS} chunks: encode it again")


def _lossy(data: bytes, at: int) -> tuple[int, int]:
    """RFC 6386 §9.1: frame tag, start code, then two 14-bit sides below their scales."""
    width, height = struct.unpack_from("<HH", data, at + 6)
    return width & 0x3FFF, height & 0x3FFF


def _lossless(data: bytes, at: int) -> tuple[int, int]:
    """RFC 9649 §3.4: signature byte, then two 14-bit sides, each less one."""
    (bits,) = struct.unpack_from("<I", data, at + 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _canvas(data: bytes) -> tuple[int, int]:
    """RFC 9649 §2.7: flags, then the canvas' two 24-bit sides, each less one."""
    width_low, width_high, height_low, height_high = struct.unpack_from("<HBHB", data, 24)
    return (width_high << 16 | width_low) + 1, (height_high << 16 | height_low) + 1
