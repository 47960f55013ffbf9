"""The window finds what a pool answers in a cycle, whatever the pool."""

from __future__ import annotations

import pytest

from ingress.dispatch.window import Window
from ingress.settings import Batching

SETTINGS = Batching(max_calls=2, max_batch=16, cycle_s=0.1)


def settled(
    frames_per_s: float, latency_s: float, *, replicas: int = 1, demand: int = 1000
) -> Window:
    """The window after many calls to a pool that needs ``latency_s`` and keeps that rate."""
    window = Window(SETTINGS, replicas)
    for _ in range(200):
        under_way = min(demand, window.calls * window.batch)
        window.landed(under_way, max(latency_s, under_way / frames_per_s))
    return window


def test_a_new_window_keeps_one_frame_at_work_and_one_at_the_door() -> None:
    window = Window(SETTINGS, 1)
    assert (window.frames, window.calls, window.batch) == (2, 2, 1)


@pytest.mark.parametrize(
    ("frames_per_s", "calls", "batch"),
    [(3, 2, 1), (60, 2, 3), (200, 2, 10), (5000, 2, 16)],
    ids=["salient on a CPU", "parts", "person on two cores", "a GPU"],
)
def test_frames_under_way_are_those_of_one_cycle(
    frames_per_s: float, calls: int, batch: int
) -> None:
    window = settled(frames_per_s, 0.008)
    assert window.calls == calls
    assert abs(window.batch - batch) <= 1
    assert window.frames == pytest.approx(min(max(2, 0.1 * frames_per_s), 32), rel=0.25)


def test_low_load_does_not_close_the_window() -> None:
    """One client at 30 frames a second: each of its calls says what more of them could have."""
    assert settled(200, 0.01, demand=1).frames >= 9


def test_it_grows_with_the_replicas() -> None:
    assert settled(3, 0.3, replicas=4).calls == 8
    alone, four = settled(200, 0.01), settled(800, 0.01, replicas=4)
    assert four.frames == pytest.approx(4 * alone.frames, rel=0.3)
    assert four.calls == 8


def test_a_pool_that_slows_down_is_given_fewer_frames() -> None:
    window = settled(400, 0.01)
    before = window.frames
    for _ in range(50):
        window.landed(window.calls * window.batch, 4 * window.calls * window.batch / 400)
    assert window.frames < before / 3


def test_it_stays_within_the_calls_and_batches_that_are_allowed() -> None:
    window = Window(Batching(max_calls=1, max_batch=1, cycle_s=0.1), 1)
    for _ in range(100):
        window.landed(1, 1e-6)
    assert (window.calls, window.batch) == (1, 1)
