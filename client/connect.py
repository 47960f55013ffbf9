"""A stream over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from client.dial import dial
from client.outcomes import LOST
from client.stream import Stream
from client.token import Token, given
from ingress.wire.requests import Hello


@asynccontextmanager
async def connect(
    url: str,
    *,
    max_in_flight: int | None = None,
    client: str = "segstream-python",
    token: Token = None,
    timeout_s: float = 10.0,
) -> AsyncIterator[Stream]:
    """One connection to the server at ``url`` (``ws://host:port/ws``), closed on leaving.

    Args:
        max_in_flight: fewer frames under way than the server allows; None takes its limit.
        client: a name and version for the server's log.
        token: the sign-in token, where the server asks for one, or a function that gives it.
        timeout_s: for the opening handshake, and again for the greeting.

    Raises:
        Unreachable: no WebSocket, or not this protocol.
        Refused, Closed, NoReply: the server did not welcome this client; Refused where it said
            why, as for a token that is not accepted, or an address that has too many sessions.
    """
    hello = Hello(type="hello", client=client, token=given(token))
    stream = Stream(await dial(url, hello, timeout_s), max_in_flight)
    async with living(stream, _once(stream)):
        yield stream


async def _once(stream: Stream) -> None:
    end = LOST
    try:
        end = await stream.serve()
    finally:
        stream.finish(end)


@asynccontextmanager
async def living(stream: Stream, life: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``life`` for as long as the block lasts; nothing of it is left afterwards."""
    running = asyncio.create_task(life, name="stream")
    try:
        yield
    finally:
        try:
            await stream.close()
        finally:
            if stream.end is None:  # between two connections, or the goodbye was cut short
                running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()
