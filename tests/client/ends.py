"""Both ends of a stream, and what tests of several files say of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from client import Closed, Stream, connect, session
from ingress.wire.replies import ServerMessage, Welcome
from ingress.wire.requests import Hello
from tests.client.fake_server import DEADLINE_S, FakeServer, Peer, welcome


@asynccontextmanager
async def connected(
    server: FakeServer, greeting: Welcome | None = None
) -> AsyncIterator[tuple[Stream, Peer]]:
    """Both ends of one connection."""
    accepting = asyncio.create_task(server.peer(greeting))
    async with connect(server.url) as stream:
        yield stream, await accepting


@asynccontextmanager
async def opened(
    server: FakeServer, greeting: Welcome | None = None, **options: Any
) -> AsyncIterator[tuple[Stream, Peer]]:
    """Both ends of a new session, which the server keeps."""
    accepting = asyncio.create_task(server.peer(greeting or welcome(resume_token="t1")))
    async with session(server.url, **options) as stream:
        yield stream, await accepting


async def returning(server: FakeServer, greeting: ServerMessage) -> tuple[Peer, Hello]:
    """The client's next connection, greeted."""
    peer = await server.stranger()
    return peer, await peer.greet(greeting)


def resumed(token: str = "t2", last_request: int | None = None, **more: Any) -> Welcome:
    return welcome(resume_token=token, resumed=True, last_request=last_request, **more)


def numbered(message: ServerMessage, control_seq: int) -> ServerMessage:
    return message.model_copy(update={"control_seq": control_seq})


async def ended(stream: Stream) -> Closed:
    """How the stream ended."""

    async def read() -> None:
        async for _ in stream:
            pass

    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(Closed) as caught:
            await read()
    return caught.value
