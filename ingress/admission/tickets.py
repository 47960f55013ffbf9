"""Tickets: what a page has in place of its token: good once, soon, and for the page that got it.

A page cannot put a header on a WebSocket, and a token in an address ends up in logs. So it asks
for a ticket over HTTP, where it can, and says that in its hello or as a subprotocol. One book keeps
them for all ingress replicas, in the session store: a ticket that one replica gave is redeemed at
another, and never twice.

Rules
1. Only the SHA-256 of a ticket is kept.
2. A ticket is remembered for twice its time, redeemed or not, so that a replay is told from an
   invention.
3. A principal has so many; the oldest leave. Nobody's tickets push out another's.

No I/O and no clock here: the book is told the time in seconds.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from ingress.admission.principals import Principal
from ingress.admission.refusal import Refused

PREFIX = "ticket."
_BYTES = 32


def new_ticket() -> str:
    """256 random bits, in characters that a subprotocol may have."""
    return f"{PREFIX}{secrets.token_urlsafe(_BYTES)}"


def hash_ticket(ticket: str) -> bytes:
    """What is kept of a ticket."""
    return hashlib.sha256(ticket.encode(errors="replace")).digest()


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket stands for: who has it, the page that it is for, and until when it is good."""

    principal: Principal
    origin: str | None
    ends_at: float
    used: bool = False


class TicketBook(Protocol):
    """Where tickets are kept, as an ingress replica sees it; both raise Refused."""

    async def issue(self, ticket: bytes, principal: Principal, origin: str | None) -> None:
        """Keep the ticket of that hash."""

    async def redeem(self, ticket: bytes, origin: str | None) -> Principal:
        """Who comes with the ticket of that hash; it is used up."""


class Tickets:
    """The book."""

    def __init__(self, ttl_s: float, per_principal: int) -> None:
        self._ttl_s = ttl_s
        self._per_principal = per_principal
        self._kept: OrderedDict[bytes, Ticket] = OrderedDict()
        self._of: dict[str, OrderedDict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def issue(self, ticket: bytes, principal: Principal, origin: str | None, now: float) -> None:
        """Keep a ticket."""
        self._expire(now)
        own = self._of.get(principal.name)
        if own is not None and len(own) >= self._per_principal:
            self._forget(next(iter(own)))
        self._keep(ticket, Ticket(principal, origin, now + self._ttl_s))

    def redeem(self, ticket: bytes, origin: str | None, now: float) -> Principal:
        """Who has it; raises Refused. One that is asked for by another page is used up, too."""
        self._expire(now)
        found = self._kept.get(ticket)
        if found is None:
            raise Refused("ticket_unknown")
        if found.used:
            raise Refused("ticket_used")
        self._kept[ticket] = replace(found, used=True)
        if found.ends_at <= now:
            raise Refused("ticket_expired")
        if found.origin != origin:
            raise Refused("ticket_origin")
        return found.principal

    def knows(self, ticket: bytes) -> bool:
        """Whether it was given and is remembered."""
        return ticket in self._kept

    def left(self, now: float) -> list[tuple[bytes, Ticket]]:
        """All of them, each with its time left in place of its end, for a successor."""
        kept = self._kept.items()
        return [(key, replace(ticket, ends_at=ticket.ends_at - now)) for key, ticket in kept]

    def adopt(self, tickets: Iterable[tuple[bytes, Ticket]], now: float) -> None:
        """Take over what ``left`` gave."""
        for key, ticket in tickets:
            if key not in self._kept:
                self._keep(key, replace(ticket, ends_at=ticket.ends_at + now))

    def _keep(self, key: bytes, ticket: Ticket) -> None:
        self._kept[key] = ticket
        self._of.setdefault(ticket.principal.name, OrderedDict())[key] = None

    def _expire(self, now: float) -> None:
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if oldest.ends_at > now - self._ttl_s:
                return
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        name = self._kept.pop(key).principal.name
        own = self._of[name]
        del own[key]
        if not own:
            del self._of[name]
