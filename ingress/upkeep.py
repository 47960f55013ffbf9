"""Upkeep: work that a replica does for as long as it lives, such as renewing its sessions.

A task of its own that raises ends without a word, and what it did is done no more: a replica whose
renewals have ended looks well, and loses every session a minute later.

Rules
1. An end that nobody foresaw is logged with its traceback, and counted as any bug is.
2. The work begins again after a pause, twice as long each time up to a bound. Where it went on for
   longer than that bound before, the pause is the first again.
3. Work that returns is done. A cancellation ends it without a word.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("segstream.upkeep")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0  # sessions that are renewed every third of their minute outlive it


async def kept_up(
    what: str, work: Callable[[], Awaitable[None]], on_bug: Callable[[], object]
) -> None:
    """Do ``work`` until it returns; ``what`` names it in the log, ``on_bug`` counts."""
    clock = asyncio.get_running_loop().time
    pause_s = _FIRST_PAUSE_S
    while True:
        began_at = clock()
        try:
            return await work()
        except Exception:
            on_bug()
            if clock() - began_at > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            log.exception("%s ended unforeseen; it begins again in %g s", what, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
