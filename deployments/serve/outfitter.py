"""Who equips the servers, and when: each ingress replica, for as long as it lives.

Proxies come with new nodes and after they died, and a replica's own server, HAProxy's target, is
started after its constructor. So each replica looks once a second for what there is, and equips
what it has not seen; once in ``_RENEW_S`` it says that it still stands by that (rule 3 of
``deployments.serve.equipment``). A look asks the GCS for names and nothing of the proxies. A
proxy's name is there before its server is, and what it is asked waits until it is up, so
connections to a proxy that comes late hardly ever come before its equipment.

All of it leans on Serve's insides. Where a new Ray has moved them, one warning says so, clients get
uvicorn's own limits and pings, and the application runs on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from math import inf, isfinite
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError

from deployments.serve.equipment import LEASE_S, Kit, by_value, equip, equip_proxy, kit_for
from deployments.serve.replica import own_replica
from ingress.settings import IngressSettings

log = logging.getLogger("segstream.outfitter")

# How the names of Serve's proxy actors begin, the one beside HAProxy included.
PROXY_ACTOR, NAMESPACE = "SERVE_PROXY_ACTOR", "serve"

_LOOK_EVERY_S = 1.0
_RENEW_S = LEASE_S / 3
_ANSWER_S = 10.0
_OWN, _ALL = "this replica", "Serve's proxies"

Done = TypeVar("Done")

# What equips each server, by a name that no other server ever has; False: it is not up yet.
Servers = Mapping[str, Callable[[], Awaitable[bool]]]


class Outfitter:
    """Equips the servers that ``find`` finds; it is called in a thread."""

    def __init__(
        self, find: Callable[[], Servers], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._clock = clock
        self._due_at: dict[str, float] = {}
        self._seen: frozenset[str] = frozenset()

    def named_peers(self) -> bool:
        """Whether all that was seen is equipped: HAProxy names peers, our server keeps them."""
        due_at = [self._due_at.get(name, inf) for name in self._seen]
        return bool(due_at) and all(map(isfinite, due_at))

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Equip what is new, and renew what is due."""
        servers = await self._attempt(_ALL, partial(asyncio.to_thread, self._find)) or {}
        now, self._seen = self._clock(), frozenset(servers)
        self._due_at = {name: due for name, due in self._due_at.items() if name in servers}
        due = [name for name in servers if self._due_at.get(name, now) <= now]
        await asyncio.gather(*(self._equip(name, servers[name]) for name in due))

    async def _equip(self, name: str, equip_it: Callable[[], Awaitable[bool]]) -> None:
        if await self._attempt(name, equip_it):
            self._due_at[name] = self._clock() + _RENEW_S

    async def _attempt(self, what: str, step: Callable[[], Awaitable[Done]]) -> Done | None:
        """What ``step`` says; None where it cannot be done now, or, after a warning, never."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await step()
        except (RayActorError, TimeoutError):
            return None  # it died, or is still starting; the next look sees
        except Exception as error:  # noqa: BLE001 - a new Ray or uvicorn may raise anything here
            self._due_at[what] = inf
            log.warning(
                "Ray %s hides the server of %s (%r): clients get uvicorn's own limits and pings",
                ray.__version__, what, error,
            )  # fmt: skip
            return None


def behind_haproxy(environ: Mapping[str, str]) -> bool:
    """Whether clients of this replica come by way of HAProxy."""
    return environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"


def outfitter(settings: IngressSettings) -> Outfitter:
    """The one of this replica; what it hands out is made at its first look, and then kept."""
    since = time.time()

    @cache
    def kits() -> tuple[Kit, Any]:
        own = kit_for(settings, in_replica=True, since=since)
        proxys = kit_for(settings, in_replica=False, since=since)
        with by_value():
            return own, ray.put(partial(equip_proxy, proxys))

    def find() -> Servers:
        own, fit = kits()
        return {_OWN: partial(_equip_own, own), **_proxies(fit)}

    return Outfitter(find)


async def _equip_own(kit: Kit) -> bool:
    server = own_replica()._direct_ingress_http_server
    if server is None:  # not yet, or clients come through a proxy of Serve's
        return False
    equip(server.config, kit)
    return True


def _proxies(fit: Any) -> Servers:
    """The proxies of the cluster, each with ``fit`` to be run in it."""
    found = {}
    for actor in ray.util.list_named_actors(all_namespaces=True):
        name, namespace = actor["name"], actor["namespace"]
        if namespace == NAMESPACE and name.startswith(PROXY_ACTOR):
            with suppress(ValueError):  # it died since
                handle = ray.get_actor(name, namespace=namespace)
                found[f"{name}, {handle._actor_id.hex()}"] = partial(_equip_proxy, handle, fit)
    return found


async def _equip_proxy(handle: Any, fit: Any) -> bool:
    return bool(await handle.__ray_call__.remote(fit))
