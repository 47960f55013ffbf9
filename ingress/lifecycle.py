"""The states of one connection.

Rules
1. A connection moves only along the table below; a missing pair is a bug of ours.
2. Messages may be sent in ACCEPTED, OPEN and DRAINING. In ACCEPTED that is an
   error about a message that came before hello, nothing else (ADR 0003).
3. CLOSING permits the one close frame. CLOSED permits nothing.
4. END is the loss of the transport, or the end of the close: it leads to CLOSED from
   anywhere, and ending an ended connection changes nothing.

No I/O and no clock: ``ingress.door.connection`` drives this, tests drive it by hand.
The form (rules, table, a missing key is an error) is h11's ``_state.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a connection is in its life; the label of ``ws_connections``."""

    NEW = "new"
    ACCEPTED = "accepted"
    OPEN = "open"
    DRAINING = "draining"
    CLOSING = "closing"
    CLOSED = "closed"


class Event(StrEnum):
    """What can happen to a connection."""

    ACCEPT = "accept"
    GREET = "greet"
    DRAIN = "drain"
    CLOSE = "close"
    END = "end"


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.NEW, Event.ACCEPT): State.ACCEPTED,
        (State.NEW, Event.END): State.CLOSED,
        (State.ACCEPTED, Event.GREET): State.OPEN,
        (State.ACCEPTED, Event.CLOSE): State.CLOSING,
        (State.ACCEPTED, Event.END): State.CLOSED,
        (State.OPEN, Event.DRAIN): State.DRAINING,
        (State.OPEN, Event.CLOSE): State.CLOSING,
        (State.OPEN, Event.END): State.CLOSED,
        (State.DRAINING, Event.CLOSE): State.CLOSING,
        (State.DRAINING, Event.END): State.CLOSED,
        (State.CLOSING, Event.END): State.CLOSED,
        (State.CLOSED, Event.END): State.CLOSED,
    }
)

SENDABLE = frozenset({State.ACCEPTED, State.OPEN, State.DRAINING})


class IllegalTransition(RuntimeError):
    """An event that the table does not know in this state: a bug of ours."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a connection that is {state} cannot {event}")


def fire(state: State, event: Event) -> State:
    """The state after ``event``; raises IllegalTransition where the table has no such pair."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None
