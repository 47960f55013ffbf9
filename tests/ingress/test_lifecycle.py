"""The states of a connection, walked by hand and at random."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.lifecycle import SENDABLE, TRANSITIONS, Event, IllegalTransition, State, fire, may

ROWS = [
    (State.NEW, Event.ACCEPT, State.ACCEPTED),
    (State.NEW, Event.END, State.CLOSED),
    (State.ACCEPTED, Event.HELLO, State.GREETING),
    (State.ACCEPTED, Event.GREET, State.OPEN),
    (State.ACCEPTED, Event.CLOSE, State.CLOSING),
    (State.ACCEPTED, Event.END, State.CLOSED),
    (State.GREETING, Event.GREET, State.OPEN),
    (State.GREETING, Event.CLOSE, State.CLOSING),
    (State.GREETING, Event.END, State.CLOSED),
    (State.OPEN, Event.DRAIN, State.DRAINING),
    (State.OPEN, Event.CLOSE, State.CLOSING),
    (State.OPEN, Event.END, State.CLOSED),
    (State.DRAINING, Event.CLOSE, State.CLOSING),
    (State.DRAINING, Event.END, State.CLOSED),
    (State.CLOSING, Event.END, State.CLOSED),
    (State.CLOSED, Event.END, State.CLOSED),
]
LEGAL = {(state, event) for state, event, _ in ROWS}


@pytest.mark.parametrize(("state", "event", "after"), ROWS)
def test_each_row_leads_where_the_table_says(state: State, event: Event, after: State) -> None:
    assert fire(state, event) is after


def test_the_table_has_no_other_rows() -> None:
    assert set(TRANSITIONS) == LEGAL


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in itertools.product(State, Event) if pair not in LEGAL]
)
def test_a_pair_that_the_table_lacks_is_an_error(state: State, event: Event) -> None:
    with pytest.raises(IllegalTransition, match=f"a connection that is {state} cannot {event}"):
        fire(state, event)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_what_may_happen_is_what_the_table_has(state: State, event: Event) -> None:
    assert may(state, event) is ((state, event) in LEGAL)


def test_hello_may_be_said_once() -> None:
    assert [state for state in State if may(state, Event.HELLO)] == [State.ACCEPTED]


def test_a_client_is_shown_as_accepted_until_it_is_greeted() -> None:
    assert {state: state.shown for state in State if state.shown is not state} == {
        State.GREETING: State.ACCEPTED
    }


@pytest.mark.parametrize("state", State)
def test_loss_leads_to_closed_from_anywhere(state: State) -> None:
    assert fire(state, Event.END) is State.CLOSED


def test_messages_are_sent_only_while_the_peer_can_use_them() -> None:
    assert {State.ACCEPTED, State.GREETING, State.OPEN, State.DRAINING} == SENDABLE


@given(st.lists(st.sampled_from(Event)))
def test_no_walk_sends_after_a_close_or_leaves_closed(events: list[Event]) -> None:
    state, closing = State.NEW, False
    for event in events:
        if (state, event) not in LEGAL:
            continue
        state = fire(state, event)
        closing = closing or state in (State.CLOSING, State.CLOSED)
        assert not (closing and state in SENDABLE)
