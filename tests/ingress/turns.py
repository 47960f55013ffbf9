"""Turns of the event loop: how a test lets things happen while no time passes."""

from __future__ import annotations

import asyncio

from ingress.service import Service


async def settle(turns: int = 50) -> None:
    """Let every task that can run do so; no time passes."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def end_calls(service: Service) -> None:
    """Cancel the calls that a test left in flight, and wait for their end."""
    while calls := [call for d in service.dispatchers.values() for call in d._calls]:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(0)
