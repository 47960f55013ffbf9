"""What Serve's environment needs of us, and nothing that a request passes through.

Here is everything that leans on Ray Serve's internals. Each piece is guarded:
where a new Ray moved what it needs, it says so once and the app runs on with
Serve's own behaviour. Tests in tests/deployments check each against the pinned Ray.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import ray
import uvicorn
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.serve.quiet import Quiet

log = logging.getLogger("segstream.serving")

# Read by the process that opens the port: Serve's proxy, or the ingress replica in HAProxy
# mode. Neither sees serve.yaml's args, so what uvicorn must know comes through these.
WS_MAX_BYTES = "SEGSTREAM_WS_MAX_BYTES"
WS_PING_INTERVAL_S = "SEGSTREAM_WS_PING_INTERVAL_S"
WS_PING_TIMEOUT_S = "SEGSTREAM_WS_PING_TIMEOUT_S"
WS_SEND_TIMEOUT_S = "SEGSTREAM_WS_SEND_TIMEOUT_S"

# How the names of Serve's proxy actors begin, the one beside HAProxy included.
PROXY_ACTOR = "SERVE_PROXY_ACTOR"

# Serve's own header by which a request asks not to be watched for a disconnect.
_UNWATCHED = (b"x-request-disconnect-disabled", b"?1")


# Serve says this for every call that we cancel because its sessions have gone. A lost client
# costs one line, and that line is ours.
_CANCELLED_CALL = "Cancelling request that has already been assigned to a replica."


# The loggers that are ours, and those whose every line stands for something that ended once.
OURS = ("segstream", "models")
ONE_LINE_EACH = frozenset({"segstream.session"})


def _not_a_cancelled_call(record: logging.LogRecord) -> bool:
    return record.msg != _CANCELLED_CALL


def adopt_serve_logging() -> None:
    """Send our loggers through Serve's handlers: its format, its files, its JSON.

    With ``logging_config.encoding: JSON`` what a call gives as ``extra=`` becomes keys of the
    line's object; the values must be what ``json.dumps`` takes.
    """
    serve_logger = logging.getLogger("ray.serve")
    serve_logger.addFilter(_not_a_cancelled_call)
    relay = Relay(serve_logger)
    for name in OURS:
        ours = logging.getLogger(name)
        ours.handlers = [relay]
        ours.setLevel(serve_logger.level or logging.INFO)
        ours.propagate = not serve_logger.handlers


class Relay(logging.Handler):
    """Hands our records, repeated warnings held back, to the handlers that Serve has now.

    A filter on a logger does not meet the records of its children, and Serve's handlers carry
    records that are not ours; so the filter has a handler of its own.
    """

    def __init__(self, to: logging.Logger) -> None:
        super().__init__()
        self._to = to
        self.addFilter(Quiet(spared=ONE_LINE_EACH))

    def emit(self, record: logging.LogRecord) -> None:
        for handler in self._to.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)


class RawWebSocket:
    """Middleware that gives the app uvicorn's own receive and send for WebSockets.

    Otherwise the replica reads the socket in a task of its own and cancels the handler when
    the peer leaves, racing the message that says why. Only for HAProxy mode: Serve's default
    proxy reads the same header, and would no longer tell the replica of a disconnect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "headers": [*scope["headers"], _UNWATCHED]}
        await self._app(scope, receive, send)


class DropAfterLoss:
    """Middleware that drops what is sent to a WebSocket whose peer has gone.

    Only for Serve's default proxy: where a send raises, the proxy abandons its response in the
    middle, and its generator answers that with two errors and a traceback per lost client. A
    send raises OSError, ASGI's word for a peer that has gone, and RuntimeError between the close
    that uvicorn itself decided on and the loss, which a full buffer holds off. The replica
    hears of the end through receive, as always, and then ends the response itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_while_there(message: Message) -> None:
            with suppress(OSError, RuntimeError):
                await send(message)

        await self._app(scope, receive, send_while_there if scope["type"] == "websocket" else send)


def configure_uvicorn() -> list[Middleware]:
    """Set uvicorn's WebSocket options before Serve starts it; returns Serve's middlewares.

    Serve calls this where ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names it, its one
    hook before the server starts. It offers no way to pass WebSocket options, so the
    constructor of ``uvicorn.Config`` is given other defaults for this process:
    permessage-deflate off (frames are compressed pictures), a message limit that lets the
    app answer an oversized frame instead of losing the connection, transport pings for plain
    clients, and a protocol that lets go of peers that take nothing.
    """
    init = uvicorn.Config.__init__
    if not getattr(init, "segstream", False):

        @functools.wraps(init)
        def configured(self: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **{**websocket_options(os.environ), **kwargs})

        configured.segstream = True  # type: ignore[attr-defined]
        uvicorn.Config.__init__ = configured  # type: ignore[method-assign]
    return [Middleware(RawWebSocket if meets_clients_in_replica(os.environ) else DropAfterLoss)]


def meets_clients_in_replica(environ: Mapping[str, str]) -> bool:
    """Whether the uvicorn of this process is a replica's own, with HAProxy in front.

    In HAProxy mode, too, there is a proxy of Serve's: it stands in while no replica is there.
    """
    haproxy = environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
    return haproxy and not _actor_name().startswith(PROXY_ACTOR)


def _actor_name() -> str:
    return (ray.get_runtime_context().get_actor_name() or "") if ray.is_initialized() else ""


def websocket_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """The keyword arguments of ``uvicorn.Config`` that concern WebSockets."""
    return {
        "ws": websocket_protocol(meets_clients_in_replica(environ)),
        "ws_max_size": int(environ.get(WS_MAX_BYTES, 24 * 1024 * 1024)),
        "ws_ping_interval": float(environ.get(WS_PING_INTERVAL_S, 10)),
        "ws_ping_timeout": float(environ.get(WS_PING_TIMEOUT_S, 10)),
        "ws_per_message_deflate": False,
    }


def websocket_protocol(in_replica: bool) -> type[asyncio.Protocol] | str:
    """Our WebSocket for uvicorn, or its own where this uvicorn lacks what ours needs."""
    try:
        websocket = import_module("deployments.serve.websocket")
        ours = websocket.PatientWebSocket if in_replica else websocket.ReportingWebSocket
        theirs = websocket.PatientWebSocket.__base__
        if missing := [name for name in websocket.NEEDED if not hasattr(theirs, name)]:
            raise ImportError(", ".join(missing))
    except ImportError as error:
        log.warning("this uvicorn has no %s: stalled clients are noticed late", error)
        return "auto"
    protocol: type[asyncio.Protocol] = ours
    return protocol
