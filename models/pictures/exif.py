"""The orientation in an EXIF block, the one thing of it that a picture needs.

Read here, so that no decoder is given a stranger's metadata.
"""

from __future__ import annotations

import struct

PREFIX = b"Exif\0\0"
MAX_BYTES = 1 << 16  # what a JPEG segment can hold
_ORIENTATION = 0x0112
_MAX_ENTRIES = 512


def orientation(block: bytes) -> int:
    """1 to 8; 1 where ``block``, TIFF 6.0 with or without its prefix, does not say."""
    block = block.removeprefix(PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, at)
        for entry in range(min(entries, _MAX_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, at + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
