"""The one figure that stands for many: of rounds, of clients, of the seconds of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any


def median_of(results: Sequence[Any]) -> Any:
    """The median of each figure in results of one shape; of a kind that some lack, of the rest."""
    first = results[0]
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for result in results for key in result)
        return {key: median_of([r[key] for r in results if key in r]) for key in keys}
    if isinstance(first, list):
        return first
    return median(results)


def over_rounds(
    measured: Mapping[str, Any], figure: Callable[[Mapping[str, Any]], float]
) -> float | None:
    """The median of ``figure`` over the rounds that have it."""
    found = []
    for one in measured["rounds"]:
        try:
            found.append(figure(one))
        except KeyError:
            continue
    return median(found) if found else None


def thirds(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    """The first, the second and the last third of what was measured over time; none is empty."""
    third = max(1, len(values) // 3)
    return values[:third], values[third : 2 * third] or values[-third:], values[-third:]


def percentile(ordered: Sequence[float], p: float) -> float:
    """By nearest rank; 0.0 of nothing."""
    return ordered[round((len(ordered) - 1) * p / 100)] if ordered else 0.0
