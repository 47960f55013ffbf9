"""Turns of the event loop: how a test lets things happen while no time passes."""

from __future__ import annotations

import asyncio


async def settle(turns: int = 50) -> None:
    """Let every task that can run do so; no time passes."""
    for _ in range(turns):
        await asyncio.sleep(0)
