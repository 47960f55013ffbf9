"""What is long, in slices, with a turn of the loop between any two.

To count in text or to code base64 takes 5 to 8 ms a MiB and keeps Python's lock, so a thread would
hold up the loop all the same.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import AnyStr

SLICE = 192 * 1024  # whole groups of base64, coded or not


async def sliced(whole: AnyStr) -> AsyncIterator[AnyStr]:
    """``whole`` in order, at most ``SLICE`` at a time."""
    for at in range(0, len(whole), SLICE):
        if at:
            await asyncio.sleep(0)
        yield whole[at : at + SLICE]


async def from_base64(text: str) -> bytes:
    """The bytes that strict base64 (RFC 4648, with padding) stands for; raises ValueError."""
    parts: list[bytes] = []
    padded = False
    async for part in sliced(text):
        if padded:
            raise binascii.Error("data behind the padding")
        parts.append(base64.b64decode(part, validate=True))
        padded = part.endswith("=")
    return b"".join(parts)


async def to_base64(data: bytes) -> list[str]:
    """``data`` in base64, in pieces that are to be joined."""
    return [base64.b64encode(part).decode() async for part in sliced(data)]
