"""Opening a session: the WebSocket, the greeting, and the end of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets import connect as open_websocket
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import (
    ConnectionClosed,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    WebSocketException,
)
from websockets.typing import Subprotocol

from client.outcomes import Closed, NoReply, Refused, Unreachable
from client.stream import Stream, end_of, shut
from ingress.protocol import (
    SUBPROTOCOL,
    BadMessage,
    Error,
    Hello,
    Welcome,
    encode_text,
    parse_server_text,
)

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_DEFAULT_RETRY_MS = (500, 30_000)


@asynccontextmanager
async def connect(
    url: str,
    *,
    max_in_flight: int | None = None,
    client: str = "segstream-python",
    token: str | None = None,
    timeout_s: float = 10.0,
) -> AsyncIterator[Stream]:
    """A session with the server at ``url`` (``ws://host:port/ws``), closed on leaving.

    Args:
        max_in_flight: fewer frames under way than the server allows; None takes its limit.
        client: a name and version for the server's log.
        token: the sign-in token, where the server asks for one.
        timeout_s: for the opening handshake, and again for the greeting.

    Raises:
        Unreachable: no WebSocket, or not this protocol.
        Refused, Closed, NoReply: the server did not welcome this client.
    """
    hello = Hello(type="hello", client=client, token=token)
    socket = await _open(url, timeout_s)
    try:
        welcome = await _greet(socket, hello, timeout_s)
        limit = min(max_in_flight or welcome.max_in_flight, welcome.max_in_flight)
        stream = Stream(socket, welcome, limit)
        running = asyncio.create_task(stream.run(), name="stream")
        try:
            yield stream
        finally:
            await stream.close()
            await running
    finally:
        await shut(socket)


async def _open(url: str, timeout_s: float) -> ClientConnection:
    try:
        socket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,  # pictures do not compress
            open_timeout=timeout_s,
            ping_interval=None,  # the dialect has its own, which sees a stalled reader too
            max_size=_MAX_MESSAGE_BYTES,
        )
    except (OSError, WebSocketException) as error:
        raise Unreachable(f"cannot connect to {url}: {_why(error, timeout_s)}") from None
    if socket.subprotocol != SUBPROTOCOL:
        await shut(socket)
        raise Unreachable(f"{url} does not speak {SUBPROTOCOL}")
    return socket


def _why(error: OSError | WebSocketException, timeout_s: float) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {timeout_s:g} s"
        case InvalidURI():
            return "not an address like ws://host:port/ws"
        case InvalidStatus():
            return f"the server answered with HTTP status {error.response.status_code}"
        case NegotiationError():
            return f"the server does not speak {SUBPROTOCOL}"
        case OSError():
            return error.strerror or str(error)
        case _:
            return "what answered is not a WebSocket server"


async def _greet(socket: ClientConnection, hello: Hello, timeout_s: float) -> Welcome:
    """Say hello and wait for the welcome; an error that comes instead is a refusal."""
    try:
        async with asyncio.timeout(timeout_s):
            await socket.send(encode_text(hello))
            message = await socket.recv()
        reply = parse_server_text(message) if isinstance(message, str) else None
    except TimeoutError:
        raise NoReply("hello", timeout_s) from None
    except ConnectionClosed as closed:
        raise Closed(end_of(closed, _DEFAULT_RETRY_MS)) from None
    except BadMessage as bad:
        raise Unreachable(f"the server's greeting cannot be understood: {bad}") from None
    match reply:
        case Welcome():
            return reply
        case Error(code=code, message=words):
            raise Refused(code, words)
        case _:
            raise Unreachable("the server did not greet with a welcome")
