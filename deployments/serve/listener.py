"""The first seconds of a server: what it is equipped with before the application is there.

The application equips every server that runs (``deployments.serve.outfitter``), but a proxy listens
before it has an application, and clients that come back to a cluster that starts are early. Where
``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` names ``configure_uvicorn``, Serve calls it before it
starts a server, and those connections get the defaults of the settings instead of uvicorn's own.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

import ray
import uvicorn
from starlette.middleware import Middleware

from deployments.serve.equipment import equip, kit_for
from deployments.serve.outfitter import PROXY_ACTOR, behind_haproxy
from ingress.settings import IngressSettings


def configure_uvicorn() -> list[Middleware]:
    """Equip every server of this process as it is loaded; Serve is given no middleware of its own.

    Whoever equips it later, does so for a younger replica and so replaces this.
    """
    load = uvicorn.Config.load
    if not getattr(load, "segstream", False):
        in_replica = meets_clients_in_replica(os.environ)
        kit = kit_for(IngressSettings(), in_replica=in_replica, since=0.0)

        @functools.wraps(load)
        def loaded(self: uvicorn.Config) -> None:
            load(self)
            equip(self, kit)

        loaded.segstream = True  # type: ignore[attr-defined]
        uvicorn.Config.load = loaded  # type: ignore[method-assign]
    return []


def meets_clients_in_replica(environ: Mapping[str, str]) -> bool:
    """Whether the uvicorn of this process is a replica's own, with HAProxy in front.

    In HAProxy mode, too, there is a proxy of Serve's: it stands in while no replica is there.
    """
    return behind_haproxy(environ) and not _actor_name().startswith(PROXY_ACTOR)


def _actor_name() -> str:
    return (ray.get_runtime_context().get_actor_name() or "") if ray.is_initialized() else ""
