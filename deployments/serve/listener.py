"""The process that opens the port: Serve's proxy, or the ingress replica in HAProxy mode.

Serve starts uvicorn there and passes no WebSocket options. They are given to it behind Serve's
back; where this uvicorn lacks what ours needs, one warning says so and its own serves.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from typing import Any

import ray
import uvicorn
from starlette.middleware import Middleware

from deployments.serve.middleware import DropAfterLoss, RawWebSocket
from deployments.serve.variables import WS_MAX_BYTES, WS_PING_INTERVAL_S, WS_PING_TIMEOUT_S

log = logging.getLogger("segstream.listener")

# How the names of Serve's proxy actors begin, the one beside HAProxy included.
_PROXY_ACTOR = "SERVE_PROXY_ACTOR"


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
    return haproxy and not _actor_name().startswith(_PROXY_ACTOR)


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
        from deployments.serve import websocket

        ours = websocket.PatientWebSocket if in_replica else websocket.ReportingWebSocket
        theirs = websocket.PatientWebSocket.__base__
        if missing := [name for name in websocket.NEEDED if not hasattr(theirs, name)]:
            raise ImportError(", ".join(missing))
    except ImportError as error:
        log.warning("this uvicorn has no %s: stalled clients are noticed late", error)
        return "auto"
    return ours
