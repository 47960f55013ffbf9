"""The figures that stand for many."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.medians import median_of, over_rounds, percentile, thirds


def test_figures_are_medians_of_the_rounds_that_have_them() -> None:
    assert median_of([{"a": 1, "b": {"c": 5}}, {"a": 3}, {"a": 2}]) == {"a": 2, "b": {"c": 5}}


def test_what_is_no_figure_is_the_first_rounds() -> None:
    assert median_of([{"ages": [1, 2], "n": 1}, {"ages": [3], "n": 3}]) == {"ages": [1, 2], "n": 2}


def test_rounds_without_the_figure_are_left_out() -> None:
    measured: dict[str, Any] = {"rounds": [{"a": {"b": 1.0}}, {}, {"a": {}}, {"a": {"b": 5.0}}]}
    assert over_rounds(measured, lambda one: one["a"]["b"]) == 3.0
    assert over_rounds(measured, lambda one: one["c"]) is None


@pytest.mark.parametrize(
    ("values", "first", "second", "last"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3], [4, 5, 6], [7, 8, 9]),
        ([1, 2, 3, 4, 5], [1], [2], [5]),
        ([1, 2], [1], [2], [2]),
        ([1], [1], [1], [1]),
    ],
)
def test_thirds_are_of_one_length(
    values: list[float], first: list[float], second: list[float], last: list[float]
) -> None:
    assert thirds(values) == (first, second, last)


@pytest.mark.parametrize(
    ("values", "p", "expected"),
    [([], 50, 0.0), ([7.0], 99, 7.0), ([1.0, 2.0, 3.0], 50, 2.0), ([1.0, 2.0, 3.0], 99, 3.0)],
)
def test_a_percentile_is_a_value_of_them(values: list[float], p: float, expected: float) -> None:
    assert percentile(values, p) == expected
