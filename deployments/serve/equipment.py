"""What every server that clients connect to is equipped with, while it runs.

Serve starts uvicorn in each of its proxies and, with HAProxy in front, in each ingress replica, and
gives it no WebSocket options. But a connection takes what the server's ``uvicorn.Config`` says at
that moment, and the application can reach it: its own directly, a proxy's through Ray. So the
settings of the yaml go the way of all others, through ``AppArgs`` to the ingress replica, and from
there into the servers (``deployments.serve.outfitter`` says which and when).

Rules
1. A connection keeps what it was made with; the next one has what was put on last.
2. The same kit twice is once. What was there before stays known, so a new kit replaces an old one
   and does not lie on top of it.
3. Of two kits that of the younger replica counts while it is renewed: in a redeploy both are there.
   Where the younger has gone, as after a deploy that was taken back, the older counts again.
4. A proxy need not be able to import us: it is Serve's, and started with another working directory
   and runtime environment than the application's replicas. What goes there is pickled by value.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import cloudpickle
from starlette.types import ASGIApp

from deployments.serve import (
    crowd,
    goodbye,
    haproxy,
    headers,
    http,
    lingering,
    middleware,
    taking,
    turns,
)
from deployments.serve.crowd import Bounds, Crowd, address_key, unknown_key
from deployments.serve.headers import StrangersHeaders
from deployments.serve.http import NEEDED as _OF_HTTP
from deployments.serve.http import PatientHttp
from deployments.serve.middleware import (
    DropAfterLoss,
    RawWebSocket,
    SocketPeer,
)
from ingress import bucket
from ingress.admission import addresses
from ingress.admission.addresses import Addresses
from ingress.settings import IngressSettings

log = logging.getLogger("segstream.equipment")

LEASE_S = 60.0
_POSTS_PER_PLACE = 2  # so the app sees, counts and logs the first of those that it refuses
_HOLD_S = 2.0

# What of uvicorn.Config is leaned on, beside the options that a kit names.
NEEDED = ("loaded", "load", "loaded_app", "ws_protocol_class", "http_protocol_class")


@dataclass(frozen=True)
class Kit:
    """Options of ``uvicorn.Config``, the protocols' classes, and what lies around the app.

    ``code`` tells versions of our classes apart, and whom they trust; ``since`` replicas by age.
    """

    options: Mapping[str, float]
    traits: Mapping[str, float]  # of all of these
    http: type[asyncio.Protocol]  # lies over uvicorn's
    websocket: type[asyncio.Protocol] | None  # None: uvicorn's own
    middlewares: tuple[Callable[[ASGIApp], ASGIApp], ...]  # the last is the outermost
    code: str
    since: float

    @property
    def key(self) -> tuple[object, ...]:
        return (self.code, *sorted(self.traits.items()), *sorted(self.options.items()))


def kit_for(settings: IngressSettings, *, in_replica: bool, since: float) -> Kit:
    """The kit of a replica's own server, or of Serve's proxies.

    permessage-deflate is off, for frames are compressed pictures; the largest message is more than
    a session takes, so that the app can answer an oversized frame; pings are for plain clients.
    """
    limits = settings.limits
    own = RawWebSocket if in_replica else DropAfterLoss
    few = Bounds(
        most=_POSTS_PER_PLACE * settings.http.max_requests,
        beside_streams=settings.http.beside_streams,
        fruitless_per_s=settings.http.fruitless_per_s,
        hold_s=min(_HOLD_S, settings.http.body_stall_s / 4),
    )
    trusted = settings.admission.trusted_proxies
    key_of = unknown_key if in_replica else partial(address_key, Addresses(trusted))
    return Kit(
        options={
            "ws_max_size": limits.max_message_bytes,
            "ws_ping_interval": settings.keepalive.heartbeat_s,
            "ws_ping_timeout": settings.keepalive.timeout_s,
            "ws_per_message_deflate": False,
        },
        traits={
            "patience_s": limits.send_timeout_s,
            "head_timeout_s": settings.http.head_timeout_s,
            "small_per_s": limits.small_frames_per_s,
            "small_burst": limits.small_frames_burst,
            "max_fragments": limits.max_fragments,
            "message_bytes_per_s": limits.message_bytes_per_s,
            "message_stall_s": limits.message_stall_s,
            **asdict(few),
        },
        http=PatientHttp,
        websocket=_websocket(in_replica),
        middlewares=(
            own,
            StrangersHeaders,
            SocketPeer,
            partial(Crowd, bounds=few, key_of=key_of),
        ),
        code=" ".join((_code(), *trusted)),
        since=since,
    )


def equip(config: Any, kit: Kit) -> None:
    """Have the connections that are made from now on use ``kit``; all of it, or nothing.

    Raises:
        AttributeError: this uvicorn's Config is another.
    """
    if missing := [name for name in ("load", "loaded") if not hasattr(config, name)]:
        raise AttributeError(f"uvicorn.Config has no {', '.join(missing)}")
    if not config.loaded:
        config.load()
    if missing := [name for name in (*NEEDED, *kit.options) if not hasattr(config, name)]:
        raise AttributeError(f"uvicorn.Config has no {', '.join(missing)}")
    if missing := [name for name in _OF_HTTP if not hasattr(config.http_protocol_class, name)]:
        raise AttributeError(f"uvicorn's HTTP has no {', '.join(missing)}")
    # Not a class of ours: the one who put it there may have had other code.
    worn = getattr(config, "segstream", None)
    now, since = time.monotonic(), kit.since
    if worn and worn.key == kit.key:
        since = max(since, worn.since)
    elif worn and kit.since < worn.since and now < worn.renewed_at + LEASE_S:
        return
    else:
        app = worn.app if worn else config.loaded_app
        protocol = getattr(worn, "http", config.http_protocol_class)
        worn = SimpleNamespace(key=kit.key, app=app, http=protocol)
        _put_on(config, kit, app, protocol)
    worn.since, worn.renewed_at = since, now
    config.segstream = worn


def _put_on(config: Any, kit: Kit, app: ASGIApp, protocol: type[asyncio.Protocol]) -> None:
    for name, value in kit.options.items():
        setattr(config, name, value)
    if kit.websocket:
        ours = type(kit.websocket.__name__, (kit.websocket,), dict(kit.traits))
        config.ws_protocol_class = ours
    config.http_protocol_class = type(kit.http.__name__, (kit.http, protocol), dict(kit.traits))
    for wrap in kit.middlewares:
        app = wrap(app)
    config.loaded_app = app


def equip_proxy(kit: Kit, actor: Any) -> bool:
    """In a proxy's process, where ``actor`` is it; False while it has no server yet.

    The task that starts the server ends with it, and is kept.
    """
    starting = actor._start_http_server_task
    if not starting.done():
        return False
    _, server = starting.result()
    equip(server.config, kit)
    return True


@contextmanager
def by_value() -> Iterator[None]:
    """What is pickled meanwhile carries our code with it."""
    ours = [module for name in _SHIPPED if (module := sys.modules.get(name))]
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)


_OF_WEBSOCKETS = tuple(
    f"deployments.serve.{name}" for name in ("reporting", "underway", "websocket")
)
_SHIPPED = (
    __name__,
    addresses.__name__,
    bucket.__name__,
    crowd.__name__,
    goodbye.__name__,
    haproxy.__name__,
    headers.__name__,
    http.__name__,
    lingering.__name__,
    middleware.__name__,
    taking.__name__,
    turns.__name__,
    *_OF_WEBSOCKETS,
)


def _code() -> str:
    """One word for the code that is shipped."""
    files = [sys.modules[name].__file__ for name in _SHIPPED if name in sys.modules]
    sources = b"".join(Path(file).read_bytes() for file in files if file)
    return hashlib.sha256(sources).hexdigest()


def _websocket(in_replica: bool) -> type[asyncio.Protocol] | None:
    """Our WebSocket for uvicorn, or None where this uvicorn lacks what ours needs."""
    try:
        from deployments.serve import reporting, websocket

        ours = websocket.PatientWebSocket if in_replica else reporting.ReportingWebSocket
        theirs = websocket.PatientWebSocket.__base__
        if missing := [name for name in websocket.NEEDED if not hasattr(theirs, name)]:
            raise ImportError(", ".join(missing))
    except ImportError as error:
        log.warning("this uvicorn has no %s: stalled clients are noticed late", error)
        return None
    return ours
