"""The session store: one replica that keeps detached sessions and tickets in memory, its handle.

What it keeps of whom, and who loses first where it is full: ``ingress.resume.memory_store``.

A redeploy replaces every replica of the application, this one too: its code
version covers the whole yaml entry. So the replica that goes hands its records
to the one that comes, which runs before (``max_surge_percent``), and passes on
what it is still asked; until then the new one lets a client wait for a session
that it does not know. Without a successor (the application is shut down, or the
replica was killed) what was parked is lost; the ingress replicas write what they
hold again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.metrics.exposition import Exposition, Families
from deployments.metrics.store import StoreMetrics
from deployments.serve.handles import Unanswered, answered, apart, each_outcome, over_grpc
from deployments.serve.logs import adopt_serve_logging
from deployments.serve.stopping import told_to_stop
from ingress.admission.principals import Principal
from ingress.admission.refusal import Refused
from ingress.admission.tickets import Ticket, Tickets
from ingress.policy import Admission
from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import Claim, ClaimRefused, Parked, Renewal, StoreLost, Title
from ingress.resume.record import Heirloom
from ingress.settings import Resume
from ingress.upkeep import kept_up

log = logging.getLogger("segstream.sessions")

NAME = "session-store"

_HANDOVER_S = 30.0
_LOOK_EVERY_S = 0.1
_PATIENCE = 0.7  # of the time that an ingress replica waits for an answer
_PORTION_BYTES = 16 * 1024 * 1024

Question = Literal["hold", "park", "claim", "forget", "renew", "issue", "redeem"]

_OF_TICKETS = frozenset({"issue", "redeem"})


class SessionKeeper:
    """The deployment: ``MemoryStore`` and tickets on this process's clock, and the handover."""

    def __init__(self, settings: Resume, admission: Admission) -> None:
        adopt_serve_logging()
        context = serve.get_replica_context()
        self._id = context.replica_id.unique_id
        self._own = over_grpc(serve.get_deployment_handle(NAME, context.app_name))
        self._patience_s = _PATIENCE * settings.store_timeout_s
        self._store = MemoryStore(
            ttl_s=settings.ttl_s,
            max_parked=settings.max_parked,
            max_parked_bytes=settings.max_parked_bytes,
            on_evicted=lambda bound: self._metrics.evictions[bound].inc(),
        )
        self._tickets = Tickets(admission.ticket_s, admission.tickets_per_principal)
        self._metrics = StoreMetrics(self._store, get_args(Question))
        self._exposition = Exposition(self._metrics.registry)
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._answering = asyncio.Event()  # not while the records are on their way
        self._answering.set()
        self._heir = asyncio.Event()  # until then a predecessor may have what is unknown here
        loop.call_later(_HANDOVER_S, self._heir.set)
        self._successor: DeploymentHandle[Any] | None = None
        leaving = kept_up("the handover", self._leave, self._metrics.unhandled_exceptions.inc)
        self._leaving = loop.create_task(leaving)

    async def ask(self, question: Question, *details: Any, **options: Any) -> Any:
        """Answer one call of the handle; a refusal is returned, not raised."""
        await self._answering.wait()
        if self._successor is not None:
            return await self._successor.ask.remote(question, *details, **options)
        if self._may_be_on_its_way(question, details):
            await self._inherit()
        self._metrics.calls[question].inc()
        with self._metrics.unhandled_exceptions.count_exceptions():
            try:
                keeper = self._tickets if question in _OF_TICKETS else self._store
                return getattr(keeper, question)(*details, **options, now=self._clock())
            except ClaimRefused as refused:
                self._metrics.claims_refused.inc()
                return refused
            except Refused as refused:
                return refused

    def _may_be_on_its_way(self, question: Question, details: Sequence[Any]) -> bool:
        """Whether a predecessor may have what is asked for and is not here."""
        if question == "claim":
            return not self._store.knows(details[0])
        return question == "redeem" and not self._tickets.knows(details[0])

    async def exposition(self, asker: str) -> Families:
        """The metrics of this replica, for the ingress replica that asks."""
        return self._exposition.families(asker)

    async def identity(self) -> str:
        """Which replica answers."""
        return self._id

    async def adopt(self, heirlooms: Sequence[Heirloom], *, last: bool) -> None:
        """Take over records of the replica before this one; ``last`` ends the handover."""
        self._store.adopt(heirlooms, self._clock())
        if last:
            self._heir.set()

    async def adopt_tickets(self, tickets: Sequence[tuple[bytes, Ticket]]) -> None:
        """Take over the tickets of the replica before this one."""
        self._tickets.adopt(tickets, self._clock())

    async def _inherit(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._heir.wait()
        except TimeoutError:
            return

    async def _leave(self) -> None:
        """Once told to stop, hand everything over and pass later questions on."""
        await told_to_stop()
        try:
            async with asyncio.timeout(_HANDOVER_S):
                await self._hand_over()
        except (Unanswered, TimeoutError) as error:
            log.info("no other store took the sessions over (%r)", error)
        finally:
            self._answering.set()

    async def _hand_over(self) -> None:
        # Until the router has heard of the other; there is nothing to wait on.
        while await self._of_own("identity") == self._id:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        self._answering.clear()
        for portion in self._store.portions(self._clock(), _PORTION_BYTES):
            await self._of_own("adopt", portion, last=False)
        await self._of_own("adopt_tickets", self._tickets.left(self._clock()))
        await self._of_own("adopt", (), last=True)
        self._successor = self._own

    async def _of_own(self, method: str, *details: Any, **options: Any) -> Any:
        """What whichever replica of this deployment is asked answers; raises Unanswered."""
        with answered(f"the handover, {method}"):
            return await getattr(self._own, method).remote(*details, **options)


class StoreHandle:
    """The ``SessionStore`` and the ``TicketBook`` of one ingress replica."""

    def __init__(
        self, store: DeploymentHandle[Any], ingress: DeploymentHandle[Any], timeout_s: float
    ) -> None:
        """``ingress`` reaches all ingress replicas, this one among them."""
        self._store = over_grpc(store)
        self._ingress = over_grpc(ingress)
        self._timeout_s = timeout_s

    async def hold(self, session: str, title: Title) -> None:
        await self._ask("hold", session, title)

    async def park(self, session: str, title: Title, parked: Parked) -> bool:
        kept: bool = await self._ask("park", session, title, parked)
        return kept

    async def claim(
        self,
        session: str,
        token: bytes,
        origin: str | None,
        new_token: bytes,
        *,
        orphaned: bool,
        principal: str | None = None,
    ) -> Claim:
        answer: Claim | ClaimRefused = await self._ask(
            "claim", session, token, origin, new_token, orphaned=orphaned, principal=principal
        )
        if isinstance(answer, ClaimRefused):
            raise answer
        return answer

    async def release(self, session: str) -> bool:
        ask = partial(apart, self._ingress.broadcast, "release", session)
        outcomes = await each_outcome(ask, self._timeout_s)
        if all(isinstance(outcome, BaseException) for outcome in outcomes):
            kinds = ", ".join(sorted({type(outcome).__name__ for outcome in outcomes}))
            raise StoreLost(f"no ingress replica answers ({kinds})")
        return any(outcome is True for outcome in outcomes)

    async def forget(self, session: str, title: Title) -> None:
        await self._ask("forget", session, title)

    async def renew(self, held: Mapping[bytes, str]) -> Renewal:
        renewal: Renewal = await self._ask("renew", held)
        return renewal

    async def issue(self, ticket: bytes, principal: Principal, origin: str | None) -> None:
        await self._ask_of_tickets("issue", ticket, principal, origin)

    async def redeem(self, ticket: bytes, origin: str | None) -> Principal:
        principal: Principal = await self._ask_of_tickets("redeem", ticket, origin)
        return principal

    async def _ask_of_tickets(self, question: Question, *details: Any) -> Any:
        try:
            answer = await self._ask(question, *details)
        except StoreLost:
            raise Refused("store_lost") from None
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def _ask(self, question: Question, *details: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                with answered(f"the session store, {question}"):
                    return await apart(self._store.ask.remote, question, *details, **options)
        except Unanswered as error:
            raise StoreLost(f"the session store does not answer ({error})") from error
        except TimeoutError:
            why = f"the session store did not answer within {self._timeout_s:g} s"
            raise StoreLost(why) from None
