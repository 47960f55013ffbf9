"""A point is compared with the bare pipeline right before and after each of its slices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest

from benchmarks.point import Point, Yards
from benchmarks.served import Running
from benchmarks.yardstick import Yardstick

NOWHERE = Running("ws://127.0.0.1:9/ws", lambda: [])


class FakeYardstick:
    """A bare pipeline whose rates are known."""

    def __init__(self, fps: Iterable[float]) -> None:
        self._fps = iter(fps)
        self.asked: list[tuple[str, float]] = []

    def measure(self, part: str, seconds: float) -> dict[str, Any]:
        self.asked.append((part, seconds))
        return {"p50_ms": 6.0} if part == "single" else {"fps": next(self._fps)}


def compared(fps: list[float], slices_fps: list[float], *parts: str) -> tuple[Point, FakeYardstick]:
    fake = FakeYardstick(fps)
    yards = Yards(cast("Yardstick", fake), 0.5, parts)
    for _ in fps:
        yards.lay(NOWHERE)
    point: Point = {"fps": 1.0, "p50_ms": 9.5, "slices_fps": slices_fps}
    yards.compare(point)
    return point, fake


def test_a_slice_is_measured_against_the_mean_of_both_its_sides() -> None:
    point, fake = compared([100, 300, 500], [100, 360], "pipeline")
    assert point == {"fps": 1.0, "p50_ms": 9.5, "bare_fps": 300, "share": 0.7}  # of 0.5 and 0.9
    assert fake.asked == [("pipeline", 0.5)] * 3


def test_one_client_is_compared_with_one_frame_too() -> None:
    point, fake = compared([100, 100], [50], "pipeline", "single")
    assert point["over_single_ms"] == 3.5
    assert [part for part, _ in fake.asked] == ["pipeline", "single"] * 2


def test_a_slice_without_a_side_is_a_fault_of_the_run() -> None:
    with pytest.raises(ValueError, match="zip"):
        compared([100, 100], [50, 50], "pipeline")
