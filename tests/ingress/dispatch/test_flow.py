"""Turns are charged by what frames cost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from ingress.dispatch.flow import Clock, Flow


def served(clock: Clock, costs: Mapping[Flow, Callable[[], float]], turns: int) -> Counter[Flow]:
    """Milliseconds that each flow, always waiting, has had after so many turns."""
    had: Counter[Flow] = Counter()
    since = dict.fromkeys(costs, clock.now)
    for _ in range(turns):
        flow = min(costs, key=lambda each: clock.due(each, since[each]))
        clock.take(flow, clock.due(flow, since[flow]))
        cost_ms = costs[flow]()
        clock.landed(flow, cost_ms, answered=True)
        had[flow] += cost_ms  # type: ignore[assignment]
        since[flow] = clock.now
    return had


@pytest.mark.parametrize("dear_ms", [1.0, 10.0, 150.0, 1000.0])
def test_whoever_sends_dear_frames_has_the_same_share_of_the_work(dear_ms: float) -> None:
    clock, cheap, dear = Clock(), [Flow() for _ in range(4)], Flow()
    had = served(clock, {**dict.fromkeys(cheap, lambda: 10.0), dear: lambda: dear_ms}, 20_000)
    shares = [had[flow] / had.total() for flow in (*cheap, dear)]
    assert min(shares) > 0.9 / 5
    assert max(shares) < 1.1 / 5


def test_a_mixture_of_dear_and_cheap_frames_gains_nothing() -> None:
    rng, clock, plain, sly = random.Random(1), Clock(), Flow(), Flow()
    had = served(
        clock, {plain: lambda: 10.0, sly: lambda: rng.choice((0.5, 0.5, 0.5, 150.0))}, 20_000
    )
    assert had[sly] < 1.1 * had[plain]


def test_who_was_away_has_no_claim() -> None:
    clock, busy, away = Clock(), Flow(), Flow()
    served(clock, {busy: lambda: 10.0}, 1000)
    had = served(clock, {busy: lambda: 10.0, away: lambda: 10.0}, 100)
    assert had[away] == pytest.approx(had[busy], rel=0.05)


def test_the_first_frame_is_charged_what_the_mode_costs() -> None:
    clock, known, new = Clock(), Flow(), Flow()
    served(clock, {known: lambda: 40.0}, 50)
    now = clock.now
    clock.take(new, clock.due(new, now))
    assert clock.debt_ms(new) == pytest.approx(40.0)


def test_a_frame_that_failed_at_once_is_no_cheaper_than_one_that_was_answered() -> None:
    clock, honest, garbage = Clock(), Flow(), Flow()
    served(clock, {honest: lambda: 10.0}, 10)
    for _ in range(50):
        clock.landed(garbage, 0.01, answered=False)
    clock.take(garbage, clock.due(garbage, clock.now))
    assert clock.debt_ms(garbage) == pytest.approx(10.0)


def test_what_was_had_in_advance_is_owed_to_the_next_clock() -> None:
    one, other, heavy = Clock(), Clock(), Flow()
    served(other, {Flow(): lambda: 10.0}, 500)
    one.landed(heavy, 600.0, answered=True)
    one.take(heavy, one.due(heavy, one.now))
    debt_ms = one.debt_ms(heavy)
    assert debt_ms == pytest.approx(600.0)
    other.admit(heavy, debt_ms)
    rival = Flow()
    had = served(other, {heavy: lambda: 10.0, rival: lambda: 10.0}, 60)
    assert had[heavy] == 0
    assert had[rival] == pytest.approx(600.0)


def test_dear_is_what_costs_far_more_than_is_usual() -> None:
    clock, dear, flows = Clock(), Flow(), [Flow() for _ in range(4)]
    assert not clock.is_dear(dear), "nothing is known of it"
    for _ in range(30):
        for flow in flows:
            clock.landed(flow, 20, answered=True)
        clock.landed(dear, 200, answered=True)
    assert clock.is_dear(dear)
    assert not any(clock.is_dear(flow) for flow in flows)


def test_where_all_are_dear_none_is() -> None:
    clock, flows = Clock(), [Flow() for _ in range(4)]
    for _ in range(30):
        for flow in flows:
            clock.landed(flow, 200, answered=True)
    assert not any(clock.is_dear(flow) for flow in flows)
