"""What all sessions of one ingress replica share.

The deployments behind are named here as protocols, so that a session can be
driven by a test with a lambda for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingress.admission.gate import Gate
from ingress.admission.principals import Authentication
from ingress.admission.tickets import TicketBook
from ingress.dispatch.dispatcher import Dispatcher
from ingress.dispatch.flight import Analyzer
from ingress.metrics import Metrics
from ingress.resume.drain import Drainage
from ingress.resume.parked import SessionStore
from ingress.resume.roll import Roll
from ingress.settings import IngressSettings
from ingress.wire.replies import ModeInfo


class StatsFailed(Exception):
    """Scene statistics could not be computed; the words are for the peer."""


class SceneAnalyst(Protocol):
    """The statistics deployment, as the connection layer sees it."""

    async def scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> Mapping[str, Any]:
        """Statistics of ``masks``, pairs of seconds and PNG label map; raises StatsFailed."""


class Census(Protocol):
    """Who is there: asked for the ``server`` group of ``stats``."""

    async def replicas(self) -> Mapping[str, int]:
        """Running replicas by deployment; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Service:
    """One replica's shared parts.

    ``pixels_of``: width times height of an encoded picture, by its header, at next to no cost.
    ``authentication`` None: nobody has to sign in. ``named_peers``: as ``Addresses`` has it.
    """

    settings: IngressSettings
    modes: Mapping[str, ModeInfo]
    analyzer: Analyzer
    analyst: SceneAnalyst
    census: Census
    store: SessionStore
    metrics: Metrics
    pixels_of: Callable[[bytes], int]
    authentication: Authentication | None = None
    tickets: TicketBook | None = None
    named_peers: Callable[[], bool] | None = None
    gate: Gate = field(init=False)
    dispatchers: Mapping[str, Dispatcher] = field(init=False)
    roll: Roll = field(init=False)
    drainage: Drainage = field(init=False)

    def __post_init__(self) -> None:
        batching, replicas = self.settings.batching, self.settings.replicas
        dispatchers = {
            mode: Dispatcher(mode, self.analyzer, batching, self.metrics, replicas.get(mode, 1))
            for mode in self.modes
        }
        roll = Roll(self.store, self.settings.resume.ttl_s / 3)
        gate = Gate(
            self.settings.admission,
            self.settings.http,
            self.settings.listens_on,
            self.authentication,
            self.tickets,
            self.named_peers,
            lambda name, number: self.metrics.handshakes_rejected.labels(name).inc(number),
        )
        object.__setattr__(self, "gate", gate)
        object.__setattr__(self, "dispatchers", dispatchers)
        object.__setattr__(self, "roll", roll)
        object.__setattr__(self, "drainage", Drainage(roll, self.settings.drain, self.metrics))
        self.metrics.sessions.labels("attached").set_function(lambda: len(roll))
        self.metrics.session_buffer.set_function(lambda: roll.buffer_bytes)

    async def load(self) -> dict[str, Any]:
        """The ``server`` group of ``stats``: sessions here, replicas, and each mode's queue."""
        return {
            "sessions": len(self.roll),
            "replicas": dict(await self.census.replicas()),
            "queue": {
                mode: {"waiting_sessions": d.waiting, "calls_in_flight": d.calls}
                for mode, d in self.dispatchers.items()
            },
        }
