"""The running figures of a session."""

from __future__ import annotations

from collections import deque

import pytest

from ingress.session.figures import Figures, Rate, percentiles


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    for tick in range(100):
        rate.tick(tick / 10)
    assert rate.per_second(9.9) == pytest.approx(10)
    assert rate.per_second(1000) == 0.0


def test_one_event_is_no_rate() -> None:
    rate = Rate()
    rate.tick(1.0)
    assert rate.per_second(1.0) == 0.0


def test_percentiles_by_nearest_rank() -> None:
    assert percentiles(deque(float(i) for i in range(101))) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles(deque()) == {}


def test_inference_figures_are_mean_least_and_greatest() -> None:
    figures = Figures()
    assert figures.inference_ms() == (0.0, 0.0, 0.0)
    for ms in (2.0, 4.0, 9.0):
        figures.answered(1.0, {"inference": ms})
    assert figures.inference_ms() == (5.0, 2.0, 9.0)


def test_windows_do_not_grow_with_a_sessions_age() -> None:
    figures = Figures()
    for frame in range(10_000):
        figures.arrived(frame / 30)
        figures.answered(frame / 30, {"inference": 1.0})
    assert figures.results_out == 10_000
    assert figures.fps(10_000 / 30) == pytest.approx(30, rel=0.01)
    assert figures.summary(10_000 / 30)["latency_ms"]["inference"]["p50"] == 1.0
