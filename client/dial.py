"""Opening one connection: the WebSocket and the greeting.

A connection that fails before its welcome is cut without a close frame: the
server may have given it the session that a returning client asked for, and a
close frame would end that session.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import ExitStack
from typing import NamedTuple

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

from client.link import end_of
from client.outcomes import LOST, Closed, NoReply, Refused, Unreachable
from ingress.wire.replies import Error, Welcome
from ingress.wire.requests import Hello
from ingress.wire.text import encode_text, parse_server_text
from ingress.wire.words import SUBPROTOCOL, BadMessage, ErrorCode

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class Opened(NamedTuple):
    """A connection that was welcomed."""

    socket: ClientConnection
    welcome: Welcome


async def dial(url: str, hello: Hello, timeout_s: float) -> Opened:
    """Open a WebSocket at ``url`` and say ``hello``; ``timeout_s`` is for each of the two.

    Raises:
        Unreachable: no WebSocket, or not this protocol.
        Refused, Closed, NoReply: the server did not welcome this client.
    """
    socket = await _open(url, timeout_s)
    with ExitStack() as on_failure:
        on_failure.callback(socket.transport.abort)
        opened = Opened(socket, await _greet(socket, hello, timeout_s))
        on_failure.pop_all()
    return opened


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
    except InvalidStatus as error:
        raise _refusal(error, url) from None
    except (OSError, WebSocketException) as error:
        raise Unreachable(f"cannot connect to {url}: {_why(error, timeout_s)}") from None
    if socket.subprotocol != SUBPROTOCOL:
        socket.transport.abort()
        raise Unreachable(f"{url} does not speak {SUBPROTOCOL}")
    return socket


def _refusal(error: InvalidStatus, url: str) -> Refused | Unreachable:
    """The server's own words, where it is ours; else the status that something answered with."""
    try:
        said = json.loads(error.response.body or b"")["error"]
        return Refused(ErrorCode(said["code"]), str(said["message"]))
    except (ValueError, KeyError, TypeError):
        status = error.response.status_code
        why = f"the server answered with HTTP status {status}"
        return Unreachable(f"cannot connect to {url}: {why}")


def _why(error: OSError | WebSocketException, timeout_s: float) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {timeout_s:g} s"
        case InvalidURI():
            return "not an address like ws://host:port/ws"
        case NegotiationError():
            return f"the server does not speak {SUBPROTOCOL}"
        case ssl.SSLCertVerificationError():
            trust = "SSL_CERT_FILE names a file of certificates to trust"
            return f"its certificate cannot be trusted ({error.verify_message}); {trust}"
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
        raise Closed(end_of(closed, LOST.retry_ms)) from None
    except BadMessage as bad:
        raise Unreachable(f"the server's greeting cannot be understood: {bad}") from None
    match reply:
        case Welcome():
            return reply
        case Error(code=code, message=words):
            raise Refused(code, words)
        case _:
            raise Unreachable("the server did not greet with a welcome")
