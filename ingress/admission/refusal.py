"""The table of refusals: every way in which a client is kept out.

The set is closed. The name of a row is the label of ``segstream_ws_handshakes_rejected_total``,
which counts other requests, too; before accept the client gets its HTTP status (RFC 9110: 401, 403,
408, 429, 503), after it the row of the disconnect table. Each sentence says what was wrong and what
to do, and nothing of what the server knows: not which token is near, not whose a session is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ingress.disconnects import Disconnect
from ingress.wire.words import ErrorCode

# A scope's extension by which the server in front says how many it has kept out, by their rows.
KEPT_OUT = "segstream.kept_out"

_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row: ``retry_s`` is when it may help to ask again; None: not as things are."""

    name: str
    status: int
    code: ErrorCode
    disconnect: str
    words: str
    retry_s: int | None = None

    @property
    def line(self) -> str:
        """The template of its log line: one of its own, so that each kind is heard of."""
        return f"a client is kept out ({self.name}): %s"


def _sign_in(name: str, words: str) -> Refusal:
    return Refusal(name, 401, ErrorCode.UNAUTHORIZED, "auth_rejected", words)


def _full(name: str, status: int, words: str) -> Refusal:
    code = ErrorCode.RATE_LIMITED if status == 429 else ErrorCode.OVERLOADED
    return Refusal(name, status, code, "overloaded", words, _RETRY_S)


def _forbidden(name: str, words: str) -> Refusal:
    return Refusal(name, 403, ErrorCode.UNAUTHORIZED, "policy_violation", words)


_ROWS = (
    _forbidden("origin", "pages of this origin may not come in"),
    _forbidden("host", "this server is not asked by that name"),
    _sign_in("token_missing", "sign in: Authorization: Bearer TOKEN, or hello.token, or a ticket"),
    _sign_in("token_wrong", "the token is not accepted"),
    _sign_in("token_expired", "the token has expired; sign in with a new one"),
    _sign_in("ticket_unknown", "there is no such ticket; get one from POST /api/ticket"),
    _sign_in("ticket_used", "the ticket was redeemed before; get a new one for each connection"),
    _sign_in("ticket_expired", "the ticket has expired; get a new one and connect at once"),
    _sign_in("ticket_origin", "the ticket was given to a page of another origin"),
    _full("address_sessions", 429, "this address has as many sessions as it may; end one"),
    _full("address_ungreeted", 429, "this address has too many connections without a hello"),
    _full("principal_sessions", 429, "this principal has as many sessions as it may; end one"),
    _full(
        "connections",
        429,
        "connections come and go faster than they may from here; try again in a moment",
    ),
    _full("address_requests", 429, "this address has too many requests under way; await some"),
    _full(
        "pictures", 429, "pictures come faster than they may from here; a stream has no such rate"
    ),
    Refusal(
        "body_slow",
        408,
        ErrorCode.BAD_MESSAGE,
        "policy_violation",
        "the body came too slowly; send it again, faster or smaller",
    ),
    _full("requests", 503, "too many requests are under way; try again in a moment"),
    _full("ungreeted", 503, "too many connections wait for their hello; try again in a moment"),
    _full("sessions", 503, "all sessions are taken; try again in a moment"),
    _full("store_lost", 503, "tickets cannot be checked at the moment; try again"),
)

REFUSALS: Mapping[str, Refusal] = MappingProxyType({row.name: row for row in _ROWS})


class Refused(Exception):
    """A client is kept out; ``hint`` goes to it beside the row's own words.

    ``retry_s`` stands for the row's, where it is known better.
    """

    def __init__(self, name: str, hint: str = "", *, retry_s: int | None = None) -> None:
        super().__init__(name)
        self.refusal = REFUSALS[name]
        self._retry_s = self.refusal.retry_s if retry_s is None else retry_s
        self.words = f"{self.refusal.words}; {hint}" if hint else self.refusal.words

    def disconnect(self) -> Disconnect:
        """The end of a connection that was accepted before."""
        return Disconnect(self.refusal.disconnect, self.words)

    def headers(self) -> dict[str, str]:
        """What a response with this status must carry (RFC 6750 section 3, RFC 6585 section 4)."""
        if self.refusal.status == 401:
            return {"www-authenticate": "Bearer"}
        if self.refusal.status == 408:
            return {"connection": "close"}  # RFC 9110 section 15.5.9
        return {} if self._retry_s is None else {"retry-after": str(self._retry_s)}

    def body(self) -> dict[str, dict[str, str]]:
        """The JSON of that response."""
        return {"error": {"code": self.refusal.code, "message": self.words}}
