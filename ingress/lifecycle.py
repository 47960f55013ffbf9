"""The states of one connection.

Rules
1. A connection moves only along the table below; a missing pair is a bug of ours.
2. Messages may be sent in ACCEPTED, GREETING, OPEN and DRAINING. Before OPEN that is an
   error about a message that came before its time, nothing else (ADR 0003).
3. CLOSING permits the one close frame. CLOSED permits nothing.
4. HELLO is a v1 client's first word; its welcome may have to wait for the session store,
   in GREETING. A plain client is greeted unasked. What comes in an order that the table
   does not have is refused by ``may``: a second hello has no key.
5. END is the loss of the transport, or the end of the close: it leads to CLOSED from
   anywhere, and ending an ended connection changes nothing.

No I/O and no clock: ``ingress.door.connection`` drives this, tests drive it by hand.
The form (rules, table, a missing key is an error) is h11's ``_state.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a connection is in its life; ``shown`` is the label of ``ws_connections_now``."""

    NEW = "new"
    ACCEPTED = "accepted"
    GREETING = "greeting"
    OPEN = "open"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"

    @property
    def shown(self) -> State:
        """What metrics and operators see: a client is accepted until it is greeted."""
        return State.ACCEPTED if self is State.GREETING else self


class Event(StrEnum):
    """What can happen to a connection."""

    ACCEPT = "accept"
    HELLO = "hello"
    GREET = "greet"
    DRAIN = "drain"
    CLOSE = "close"
    END = "end"


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.NEW, Event.ACCEPT): State.ACCEPTED,
        (State.NEW, Event.END): State.CLOSED,
        (State.ACCEPTED, Event.HELLO): State.GREETING,
        (State.ACCEPTED, Event.GREET): State.OPEN,
        (State.ACCEPTED, Event.CLOSE): State.CLOSING,
        (State.ACCEPTED, Event.END): State.CLOSED,
        (State.GREETING, Event.GREET): State.OPEN,
        (State.GREETING, Event.CLOSE): State.CLOSING,
        (State.GREETING, Event.END): State.CLOSED,
        (State.OPEN, Event.DRAIN): State.DRAINING,
        (State.OPEN, Event.CLOSE): State.CLOSING,
        (State.OPEN, Event.END): State.CLOSED,
        (State.DRAINING, Event.CLOSE): State.CLOSING,
        (State.DRAINING, Event.END): State.CLOSED,
        (State.CLOSING, Event.END): State.CLOSED,
        (State.CLOSED, Event.END): State.CLOSED,
    }
)

SENDABLE = frozenset({State.ACCEPTED, State.GREETING, State.OPEN, State.DRAINING})
GREETED = frozenset({State.OPEN, State.DRAINING})


class IllegalTransition(RuntimeError):
    """An event that the table does not know in this state: a bug of ours."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a connection that is {state} cannot {event}")


def may(state: State, event: Event) -> bool:
    """Whether the table has ``event`` in that state."""
    return (state, event) in TRANSITIONS


def fire(state: State, event: Event) -> State:
    """The state after ``event``; raises IllegalTransition where the table has no such pair."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None
