"""What Serve's environment needs of us, and nothing that a request passes through.

Here is everything that leans on Ray Serve's internals. Each piece is guarded:
where a new Ray moved what it needs, it says so once and the app runs on with
Serve's own behaviour. Tests in tests/deployments check each against the pinned Ray.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import uvicorn

log = logging.getLogger("segstream.serving")

# Read by the process that opens the port: Serve's proxy, or the ingress replica in HAProxy
# mode. Neither sees serve.yaml's args, so what uvicorn must know comes through these.
WS_MAX_BYTES = "SEGSTREAM_WS_MAX_BYTES"
WS_PING_INTERVAL_S = "SEGSTREAM_WS_PING_INTERVAL_S"
WS_PING_TIMEOUT_S = "SEGSTREAM_WS_PING_TIMEOUT_S"


# Serve says this for every call that we cancel because its sessions have gone. A lost client
# costs one line, and that line is ours.
_CANCELLED_CALL = "Cancelling request that has already been assigned to a replica."


def _not_a_cancelled_call(record: logging.LogRecord) -> bool:
    return record.msg != _CANCELLED_CALL


def adopt_serve_logging() -> None:
    """Send the ``segstream`` loggers through Serve's handlers: its format, its files, its JSON."""
    serve_logger = logging.getLogger("ray.serve")
    serve_logger.addFilter(_not_a_cancelled_call)
    ours = logging.getLogger("segstream")
    ours.handlers = serve_logger.handlers
    ours.setLevel(serve_logger.level or logging.INFO)
    ours.propagate = not ours.handlers


def configure_uvicorn() -> list[Any]:
    """Set uvicorn's WebSocket limits before Serve starts it; returns no middlewares.

    Serve calls this where ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names it, its one
    hook before the server starts. It offers no way to pass WebSocket options, so the
    constructor of ``uvicorn.Config`` is given other defaults for this process:
    permessage-deflate off (frames are compressed pictures), a message limit that lets the
    app answer an oversized frame instead of losing the connection, and transport pings for
    plain clients.
    """
    init = uvicorn.Config.__init__
    if getattr(init, "segstream", False):
        return []

    @functools.wraps(init)
    def configured(self: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **{**websocket_options(os.environ), **kwargs})

    configured.segstream = True  # type: ignore[attr-defined]
    uvicorn.Config.__init__ = configured  # type: ignore[method-assign]
    return []


def websocket_options(environ: Any) -> dict[str, Any]:
    """The keyword arguments of ``uvicorn.Config`` that concern WebSockets."""
    return {
        "ws_max_size": int(environ.get(WS_MAX_BYTES, 24 * 1024 * 1024)),
        "ws_ping_interval": float(environ.get(WS_PING_INTERVAL_S, 10)),
        "ws_ping_timeout": float(environ.get(WS_PING_TIMEOUT_S, 10)),
        "ws_per_message_deflate": False,
    }
