"""The gate: everything that is asked of a client before it is a session, in its order.

1. By which name it asks for the server, and which page it is (``origin``).
2. Whether there is room for it at all (``quotas``): who is one too many costs no more than that.
3. Who it is (``principals``, ``tickets``): by its Authorization header or a ticket among its
   subprotocols; or, in the v1 dialect, by its hello, until when it is ungreeted.

Every refusal is counted and logged here, once.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ingress.admission.addresses import Addresses, Caller, is_loopback
from ingress.admission.origin import Origins, is_origin
from ingress.admission.principals import (
    MAX_TOKEN,
    Authentication,
    Principal,
    bearer,
    is_operator,
)
from ingress.admission.quotas import Quotas
from ingress.admission.refusal import REFUSALS, Refused
from ingress.admission.requests import Requests
from ingress.admission.tickets import PREFIX, TicketBook, hash_ticket, new_ticket
from ingress.policy import Admission
from ingress.settings import Http
from ingress.wire.words import PLAIN_SUBPROTOCOL, SUBPROTOCOL, TICKET_SUBPROTOCOL, Dialect

log = logging.getLogger("segstream.gate")


@dataclass(frozen=True, slots=True)
class Knock:
    """A request: from whom, what its headers say (names in small letters), by which scheme."""

    peer: str | None
    headers: Mapping[str, str]
    scheme: str
    subprotocols: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody whose handshake was let through.

    Attributes:
        subprotocol: the one of those offered that is confirmed; it says which dialect.
        origin: of the page that opened the connection, where a page did.
        address: what quotas count by.
        principal: who it is; None where nobody is asked, or its hello is still to say it.
    """

    subprotocol: str | None = None
    origin: str | None = None
    address: str | None = None
    principal: Principal | None = None

    @property
    def dialect(self) -> Dialect:
        return Dialect.V1 if self.subprotocol == SUBPROTOCOL else Dialect.PLAIN


class Gate:
    """The gate of one ingress replica."""

    def __init__(
        self,
        settings: Admission,
        http: Http,
        listens_on: str | None,
        authentication: Authentication | None,
        tickets: TicketBook | None,
        named_peers: Callable[[], bool] | None,
        count: Callable[[str, int], None],
    ) -> None:
        """``authentication`` None: nobody is asked. ``count`` is told of refusals."""
        self.quotas = Quotas(settings)
        self._requests = Requests(http)
        self.on_loopback = is_loopback(listens_on)
        self._settings = settings
        self._authentication = authentication
        self._tickets = tickets
        self._count = count
        self._addresses = Addresses(settings.trusted_proxies, named_peers)
        self._origins = Origins(
            settings.allowed_origins, settings.hosts, on_loopback=self.on_loopback
        )
        self._scrapers = tuple(map(ipaddress.ip_network, settings.metrics_addresses))

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts and logs a refusal that leaves the block."""
        try:
            yield
        except Refused as refused:
            self._count(refused.refusal.name, 1)
            log.warning(refused.refusal.line, refused.words)
            raise

    def heard_of(self, kept_out: Mapping[str, int]) -> None:
        """The server in front has kept out so many, by the names of their refusals."""
        for name, number in kept_out.items():
            self._count(name, number)
            log.warning(REFUSALS[name].line, f"{number} in front of Serve")

    def caller(self, knock: Knock) -> Caller:
        """Where a request comes from."""
        return self._addresses.caller(knock.peer, knock.headers, knock.scheme)

    async def meet(self, knock: Knock) -> Visitor:
        """Who stands at the door with a handshake; raises Refused."""
        with self.counted():
            caller = self._known(knock)
            origin, address = knock.headers.get("origin"), caller.key
            self.quotas.knock(address)
            place = self.quotas.enter(address)  # while the book of tickets is asked
            try:
                principal = await self._by_handshake(knock, origin)
            finally:
                place.leave()
            visitor = Visitor(_chosen(knock.subprotocols), origin, address, principal)
            if self._asks(visitor) and visitor.dialect is Dialect.PLAIN:
                raise Refused("token_missing", "this dialect has no hello")
        return visitor

    def check(self, knock: Knock) -> Caller:
        """Where a request of HTTP comes from; raises Refused, by its host or its origin."""
        with self.counted():
            return self._known(knock)

    def allows_page(self, knock: Knock) -> bool:
        """Whether the page that sent this may read the answer (CORS)."""
        return self._origins.allows(knock.headers.get("origin"), self.caller(knock))

    @contextmanager
    def request(self, caller: Caller) -> Iterator[None]:
        """A place for a request of HTTP, for as long as it lasts; raises Refused."""
        with ExitStack() as place:
            with self.counted():
                place.enter_context(self._requests.place(caller.key))
            yield

    def picture(self, knock: Knock) -> None:
        """Whether who sends a picture by HTTP may, now; raises Refused."""
        principal = self.sign_in_by_header(knock)
        asker = f"as {principal.name}" if principal else self.caller(knock).key
        with self.counted():
            self._requests.picture(asker)

    def sign_in_by_header(self, knock: Knock) -> Principal | None:
        """Who sends a request of HTTP; None where nobody is asked; raises Refused."""
        with self.counted():
            return self._by_token(bearer(knock.headers.get("authorization")))

    def redeems(self, visitor: Visitor, token: str | None) -> bool:
        """Whether a hello with ``token`` takes a look into the book of tickets."""
        return self._asks(visitor) and token is not None and token.startswith(PREFIX)

    def sign_in(self, visitor: Visitor, token: str | None) -> Principal | None:
        """Who says hello with ``token``, which is no ticket; raises Refused."""
        if not self._asks(visitor):
            return visitor.principal
        with self.counted():
            return self._by_token(token)

    async def redeem(self, visitor: Visitor, ticket: str) -> Principal:
        """Who says hello with ``ticket``; raises Refused."""
        with self.counted():
            return await self._by_ticket(ticket, visitor.origin)

    async def give_ticket(self, knock: Knock) -> str:
        """A new ticket for who brings a token; raises Refused."""
        principal = self.sign_in_by_header(knock)
        if principal is None or self._tickets is None:
            return new_ticket()  # nobody is asked, so nobody will look for it
        ticket = new_ticket()
        with self.counted():
            await self._tickets.issue(hash_ticket(ticket), principal, knock.headers.get("origin"))
        return ticket

    def may_scrape(self, knock: Knock) -> bool:
        """Whether who asks for the metrics may have them."""
        caller = self.caller(knock)
        return (
            (self.on_loopback and caller.is_local)
            or caller.is_in(self._scrapers)
            or self.is_operator(knock)
        )

    def is_operator(self, knock: Knock) -> bool:
        """Whether the operator asks."""
        expected = self._settings.operator_token_sha256
        return is_operator(knock.headers.get("authorization"), expected)

    def _known(self, knock: Knock) -> Caller:
        caller, origin = self.caller(knock), knock.headers.get("origin")
        if not self._origins.knows_host(caller):
            raise Refused("host", "name it in ingress.admission.hosts")
        if not self._origins.allows(origin, caller):
            raise Refused("origin", _how_to_let_in(origin or ""))
        return caller

    def _asks(self, visitor: Visitor) -> bool:
        return self._authentication is not None and visitor.principal is None

    async def _by_handshake(self, knock: Knock, origin: str | None) -> Principal | None:
        if self._authentication is None:
            return None
        if (token := bearer(knock.headers.get("authorization"))) is not None:
            return self._by_token(token)
        for offered in knock.subprotocols:
            if offered.startswith(TICKET_SUBPROTOCOL):
                return await self._by_ticket(offered.removeprefix("segstream."), origin)
        return None

    def _by_token(self, token: str | None) -> Principal | None:
        if self._authentication is None:
            return None
        if not token:
            raise Refused("token_missing")
        if len(token) > MAX_TOKEN:
            raise Refused("token_wrong")
        principal = self._authentication.principal(token)
        return _unexpired(principal)

    async def _by_ticket(self, ticket: str, origin: str | None) -> Principal:
        if self._tickets is None or len(ticket) > MAX_TOKEN:
            raise Refused("ticket_unknown")
        return _unexpired(await self._tickets.redeem(hash_ticket(ticket), origin))


def _unexpired(principal: Principal) -> Principal:
    left_s = principal.left_s()
    if left_s is not None and left_s <= 0:
        raise Refused("token_expired")
    return principal


def _chosen(offered: Sequence[str]) -> str | None:
    known = (name for name in (SUBPROTOCOL, PLAIN_SUBPROTOCOL) if name in offered)
    return next(known, None)


def _how_to_let_in(origin: str) -> str:
    """The line of the yaml; of what is no origin, nothing is repeated."""
    written = f'["{origin}"]' if is_origin(origin) else "[ORIGIN]"
    return f"ingress.admission.allowed_origins: {written} would let it in"
