"""Who equips Serve's own processes, and when: each ingress replica, until it is told to stop.

Proxies come with new nodes and after they died, and a replica's own server, HAProxy's target, is
started after its constructor. So each replica looks once a second for what there is, and equips
what it has not seen; once in ``_RENEW_S`` it says that it still stands by that (rule 3 of
``deployments.serve.equipment``). A look asks the GCS for names and nothing of the actors. A
proxy's name is there before its server is, and what it is asked waits until it is up, so
connections to a proxy that comes late hardly ever come before its equipment.

| what there is | what it gets | without it |
|---|---|---|
| a proxy of Serve's, this replica's server | ``equipment`` | uvicorn's own limits and pings |
| HAProxy's manager | ``haproxy`` | statistics for everybody |
| Serve's controller | ``goodbye`` | a shutdown is seen as 1006 |

All of it leans on Serve's insides. Where a new Ray has moved them, one warning says so and what it
means, and the application runs on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from math import inf, isfinite
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError

from deployments.serve.equipment import LEASE_S, Kit, by_value, equip, equip_proxy, kit_for
from deployments.serve.goodbye import CONTROLLER, keep_proxies_to_the_last
from deployments.serve.haproxy import MANAGER, configure
from deployments.serve.replica import own_replica
from ingress.settings import IngressSettings

log = logging.getLogger("segstream.outfitter")

# How the names of Serve's proxy actors begin, the one beside HAProxy included.
PROXY_ACTOR, NAMESPACE = "SERVE_PROXY_ACTOR", "serve"
CONTROLLER_ACTOR = "SERVE_CONTROLLER_ACTOR"
PROXY = "ProxyActor"

_LOOK_EVERY_S = 1.0
_RENEW_S = LEASE_S / 3
_ANSWER_S = 10.0
_OWN, _ALL = "this replica", "Serve's actors"

# What there is instead, where something cannot be equipped.
_WITHOUT_KIT = "clients get uvicorn's own limits and pings, or HAProxy's statistics are open to all"
_WITHOUT_GOODBYE = "clients see a shutdown of Serve as a lost connection"

Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Place:
    """Something to equip: ``step`` does it, False where it is not up yet; ``without`` says what
    there is instead where that cannot be done."""

    step: Callable[[], Awaitable[bool]]
    without: str


# By names that no other place ever has.
Places = Mapping[str, Place]


class Outfitter:
    """Equips the places that ``find`` finds; it is called in a thread."""

    def __init__(
        self, find: Callable[[], Places], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._clock = clock
        self._due_at: dict[str, float] = {}
        self._seen: frozenset[str] = frozenset()

    def named_peers(self) -> bool:
        """Whether all that was seen is equipped: HAProxy names peers, our server keeps them."""
        servers = [name for name in self._seen if not name.startswith(CONTROLLER_ACTOR)]
        due_at = [self._due_at.get(name, inf) for name in servers]
        return bool(due_at) and all(map(isfinite, due_at))

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Equip what is new, and renew what is due."""
        find = partial(asyncio.to_thread, self._find)
        places = await self._attempt(_ALL, find, _WITHOUT_KIT) or {}
        now, self._seen = self._clock(), frozenset(places)
        self._due_at = {name: due for name, due in self._due_at.items() if name in places}
        due = [name for name in places if self._due_at.get(name, now) <= now]
        await asyncio.gather(*(self._equip(name, places[name]) for name in due))

    async def _equip(self, name: str, place: Place) -> None:
        if await self._attempt(name, place.step, place.without):
            self._due_at[name] = self._clock() + _RENEW_S

    async def _attempt(
        self, what: str, step: Callable[[], Awaitable[Done]], without: str
    ) -> Done | None:
        """What ``step`` says; None where it cannot be done now, or, after a warning, never."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await step()
        except (RayActorError, TimeoutError):
            return None  # it died, or is still starting; the next look sees
        except Exception as error:  # noqa: BLE001 - a new Ray or uvicorn may raise anything here
            self._due_at[what] = inf
            error = getattr(error, "cause", error)  # of what Ray raises here for another process
            log.warning(
                "Ray %s hides what is to be equipped in %s (%r): %s",
                ray.__version__, what, error, without,
            )  # fmt: skip
            return None


def behind_haproxy(environ: Mapping[str, str]) -> bool:
    """Whether clients of this replica come by way of HAProxy."""
    return environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"


def outfitter(settings: IngressSettings) -> Outfitter:
    """The one of this replica; what it hands out is made at its first look, and then kept."""
    since = time.time()

    @cache
    def kits() -> tuple[Kit, dict[str, Any]]:
        own = kit_for(settings, in_replica=True, since=since)
        proxys = kit_for(settings, in_replica=False, since=since)
        steps = {
            PROXY: partial(equip_proxy, proxys),
            MANAGER: configure,
            CONTROLLER: partial(keep_proxies_to_the_last, settings.drain.grace_s),
        }
        with by_value():
            return own, {kind: ray.put(step) for kind, step in steps.items()}

    def find() -> Places:
        own, steps = kits()
        ours = Place(partial(_equip_own, own), _WITHOUT_KIT)
        return {_OWN: ours, **_actors(steps)}

    return Outfitter(find)


async def _equip_own(kit: Kit) -> bool:
    server = own_replica()._direct_ingress_http_server
    if server is None:  # not yet, or clients come through a proxy of Serve's
        return False
    equip(server.config, kit)
    return True


def _actors(steps: Mapping[str, Any]) -> Places:
    """Serve's actors in the cluster, each with what is to be run in it, by the actor's class."""
    found = {}
    for actor in ray.util.list_named_actors(all_namespaces=True):
        name, namespace = actor["name"], actor["namespace"]
        if namespace != NAMESPACE or not name.startswith((PROXY_ACTOR, CONTROLLER_ACTOR)):
            continue
        with suppress(ValueError):  # it died since
            handle = ray.get_actor(name, namespace=namespace)
            step = partial(_equip_actor, handle, steps)
            without = _WITHOUT_GOODBYE if name == CONTROLLER_ACTOR else _WITHOUT_KIT
            found[f"{name}, {handle._actor_id.hex()}"] = Place(step, without)
    return found


async def _equip_actor(handle: Any, steps: Mapping[str, Any]) -> bool:
    kind = handle._ray_actor_creation_function_descriptor.class_name.rpartition(".")[2]
    return bool(await handle.__ray_call__.remote(steps[kind]))
