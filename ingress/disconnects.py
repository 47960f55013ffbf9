"""The disconnect table: every way a connection can end, and what follows from it.

The set is closed. One row is one reason; its name is the metric label and the
log field, its code is the close code that the server sends, its level is the
level of the one log line, and its advice is what a client should do next. The
table in docs/disconnects.md is written from this one.

Code ranges carry the advice, so a client that knows no reason still acts well
(the scheme is Centrifugo's): 4000-4099 do not reconnect, 4100-4199 back off,
4200-4299 reconnect at once. 1005, 1006 and 1015 are never sent (RFC 6455
section 7.4.1): they stand for what was seen, not for what was said.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Initiator(StrEnum):
    """Who ended the connection."""

    CLIENT = "client"
    NETWORK = "network"
    INFRASTRUCTURE = "infrastructure"
    SERVER = "server"


class Advice(StrEnum):
    """What a client should do after the close."""

    CLIENTS_CHOICE = "client's choice"
    NEVER = "do not reconnect"
    ON_USER_ACTION = "reconnect on user action"
    WITH_NEW_TOKEN = "reconnect with a new token"
    BACK_OFF = "back off"
    AT_ONCE = "reconnect at once"
    JITTERED = "reconnect with jitter"
    IN_WINDOW = "reconnect within the window that bye gave"


@dataclass(frozen=True, slots=True)
class Reason:
    """One row: ``code`` is sent by the server, or None where it cannot send one.

    ``kept``: the session outlives the connection, for the client or, after ``replaced``, for
    the connection that took it over.
    """

    name: str
    initiator: Initiator
    code: int | None
    level: int
    advice: Advice
    kept: bool
    seen: str

    @property
    def resumable(self) -> bool:
        """Whether the client of this connection may have the session back."""
        return self.kept and self.advice is not Advice.NEVER


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Close codes that share one advice; both ends belong to it."""

    first: int
    last: int
    advice: Advice


CODE_RANGES = (
    CodeRange(4000, 4099, Advice.NEVER),
    CodeRange(4100, 4199, Advice.BACK_OFF),
    CodeRange(4200, 4299, Advice.AT_ONCE),
)

_C, _N, _I, _S = Initiator.CLIENT, Initiator.NETWORK, Initiator.INFRASTRUCTURE, Initiator.SERVER
_INFO, _WARN, _ERROR = logging.INFO, logging.WARNING, logging.ERROR

_ROWS = (
    Reason("client_close", _C, None, _INFO, Advice.CLIENTS_CHOICE, False,
           "The client sent a close frame."),
    Reason("connection_lost", _N, None, _INFO, Advice.JITTERED, True,
           "The connection ended without a close frame: FIN or RST."),
    Reason("proxy_lost", _I, None, _WARN, Advice.BACK_OFF, True,
           "The proxy in front of the server died, or cancelled the request."),
    Reason("keepalive_timeout", _S, 4201, _INFO, Advice.AT_ONCE, True,
           "Nothing was heard from the client for heartbeat_s + timeout_s, no pong either; or a "
           "message that it had begun hardly went on."),
    Reason("slow_consumer", _S, 4101, _WARN, Advice.BACK_OFF, True,
           "The client did not take what it was sent: credit stayed exhausted, or a send "
           "passed its deadline."),
    Reason("idle_timeout", _S, 4000, _INFO, Advice.ON_USER_ACTION, False,
           "Neither a frame nor a command came for idle_timeout_s."),
    Reason("hello_timeout", _S, 4001, _INFO, Advice.NEVER, False,
           "No hello came within hello_timeout_s."),
    Reason("auth_rejected", _S, 3000, _WARN, Advice.NEVER, False,
           "The token, or the ticket, was missing or not accepted."),
    Reason("auth_expired", _S, 4202, _INFO, Advice.WITH_NEW_TOKEN, True,
           "The token's time ran out."),
    Reason("policy_violation", _S, 1008, _WARN, Advice.NEVER, False,
           "Too many bad messages, or far more messages than a session may send."),
    Reason("protocol_error", _S, 1002, _WARN, Advice.NEVER, False,
           "The WebSocket protocol was broken: a bad frame, or text that is not UTF-8."),
    Reason("message_too_big", _S, 1009, _WARN, Advice.NEVER, False,
           "A message was larger, or in more fragments, than the transport takes."),
    Reason("overloaded", _S, 1013, _WARN, Advice.BACK_OFF, False,
           "The server, or the principal, has as many sessions as it may; or a place was needed "
           "whose client had not said hello."),
    Reason("server_shutdown", _S, 1012, _INFO, Advice.IN_WINDOW, True,
           "The replica is being replaced or stopped."),
    Reason("replaced", _S, 4002, _INFO, Advice.NEVER, True,
           "A newer connection took the session over."),
    Reason("server_error", _S, 1011, _ERROR, Advice.BACK_OFF, True,
           "A bug in the server."),
)  # fmt: skip

DISCONNECTS: Mapping[str, Reason] = MappingProxyType({row.name: row for row in _ROWS})

# Close codes that the peer, or the WebSocket implementation for it, reports to
# receive(), where they mean more than "the client closed".
_SEEN_CODES: Mapping[int, str] = MappingProxyType(
    {
        1002: "protocol_error",
        1003: "protocol_error",
        1006: "connection_lost",
        1007: "protocol_error",
        1009: "message_too_big",
    }
)


# What a client sees where no row of the table has the code.
_ADVICE: Mapping[int, Advice] = MappingProxyType(
    {
        1000: Advice.CLIENTS_CHOICE,
        1001: Advice.BACK_OFF,
        1005: DISCONNECTS["connection_lost"].advice,
        **{code: DISCONNECTS[name].advice for code, name in _SEEN_CODES.items()},
        **{row.code: row.advice for row in _ROWS if row.code is not None},
    }
)


def advice_for(code: int) -> Advice:
    """What a client should do after a close with ``code``: its row, else its range.

    1005 and 1006 stand for a connection that ended without saying why. A code
    that no row and no range knows is answered with caution: back off.
    """
    if code in _ADVICE:
        return _ADVICE[code]
    ranges = (r.advice for r in CODE_RANGES if r.first <= code <= r.last)
    return next(ranges, Advice.BACK_OFF)


class Disconnect(Exception):
    """The end of one connection: its row, the code that was seen, and words for the log.

    ``explanation`` goes to the peer as the close frame's reason and to the log;
    it must leak nothing internal.
    """

    def __init__(self, name: str, explanation: str = "", *, code_seen: int | None = None) -> None:
        super().__init__(name, explanation)
        self.reason = DISCONNECTS[name]
        self.explanation = explanation
        self.code_seen = code_seen

    @property
    def by_server(self) -> bool:
        """True where the server ends it, and so owes the peer a close frame."""
        return self.reason.code is not None and self.code_seen is None


def disconnect_seen(code: int | None, *, close_frame: bool) -> Disconnect:
    """The disconnect that a ``websocket.disconnect`` message reports.

    Args:
        code: the close code in the message, if any.
        close_frame: whether a close frame came from the peer. uvicorn reports a
            lost connection and an empty close frame with the same 1005; only
            for the latter does the message have a ``reason`` key.
    """
    if code in (None, 1005) and not close_frame:
        return Disconnect("connection_lost", code_seen=code or 1005)
    return Disconnect(_SEEN_CODES.get(code or 1005, "client_close"), code_seen=code or 1005)


_PAGE = """\
# How connections end

Written from `ingress/disconnects.py` by `python -m ingress.disconnects > docs/disconnects.md`;
a test keeps the two equal. Each accepted connection ends with exactly one of these reasons: it is
the label of `segstream_ws_disconnects_total`, a field of the one log line, and the word in the
close frame.

| reason | who | close code | log level | what a client should do | session kept | when |
|---|---|---|---|---|---|---|
{rows}

Codes without a row speak through their range:

| close codes | what a client should do |
|---|---|
{ranges}

1005, 1006 and 1015 are never sent (RFC 6455 section 7.4.1). A client that sees 1005 or 1006 lost
its connection: {lost}.
"""


def page() -> str:
    """docs/disconnects.md: the table and the code ranges in Markdown."""
    return _PAGE.format(
        rows="\n".join(_line(row) for row in _ROWS),
        ranges="\n".join(f"| {r.first}-{r.last} | {r.advice} |" for r in CODE_RANGES),
        lost=advice_for(1006),
    )


def _line(row: Reason) -> str:
    cells = (
        f"`{row.name}`",
        row.initiator,
        "none" if row.code is None else str(row.code),
        logging.getLevelName(row.level),
        row.advice,
        "yes" if row.kept else "no",
        row.seen,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
