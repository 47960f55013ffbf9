"""The report says what a run measured: medians, promises, and nothing that was not there."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.report import Promise, median_of, promises, tables
from ingress.settings import Batching

MACHINE = {
    "cores": 2,
    "processor": "a processor",
    "system": "Linux",
    "python": "3.11",
    "versions": {"ray": "2.60.0"},
}


def point(share: float, **figures: float) -> dict[str, Any]:
    return {
        "fps": 300 * share,
        "share": share,
        "bare_fps": 300.0,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "bytes_up": 39000.0,
        "bytes_down": 2500.0,
        "cpu_ms": {"segmenter": 5.0, "load": 0.2},
        **figures,
    }


def one_round(share: float) -> dict[str, Any]:
    points = {"1": point(0.3, over_single_ms=3.5), "16": point(share), "64": point(share + 0.02)}
    return {
        "bare": {
            "model": {"fps": 400.0},
            "pipeline": {"fps": 300.0},
            "single": {"p50_ms": 6.0, "stages_ms": {"decode": 0.6, "inference": 4.0}},
            "of_model": 0.75,
        },
        "idle": {"raylet": 0.04, "ingress": 0.05},
        "served": {"v1 mask": points},
        "peers": {"original": {"16": point(0.1, p99_ms=400.0, bytes_down=80_000.0)}},
    }


def run(**parts: Any) -> dict[str, Any]:
    return {
        "when": "today",
        "machine": MACHINE,
        "rounds": [one_round(share) for share in (0.8, 0.9, 0.95)],
        "peers": {"original": {"title": "The original", "version": "1"}},
        "unavailable": {"mosec": "no wheel for this machine"},
        **parts,
    }


def measured(words: str, **parts: Any) -> Promise:
    (found,) = (promise for promise in promises(run(**parts)) if words in promise.words)
    return found


def test_figures_are_medians_of_the_rounds_that_have_them() -> None:
    assert median_of([{"a": 1, "b": {"c": 5}}, {"a": 3}, {"a": 2}]) == {"a": 2, "b": {"c": 5}}


def test_a_share_is_promised_from_below_and_a_cost_from_above() -> None:
    assert measured("bare pipeline, frames/s, 16 clients") == Promise(
        "served v1 mask ÷ bare pipeline, frames/s, 16 clients", 0.9, 0.9
    )
    assert measured("original, frames/s").figure == pytest.approx(9)
    idle = measured("idle")
    assert idle.figure == pytest.approx(0.09)
    assert idle.holds
    assert not Promise("idle", 0.13, 0.12, at_most=True).holds
    assert "**no**" in Promise("idle", 0.13, 0.12, at_most=True).row


def test_latencies_are_compared_in_frames_of_the_bare_pipeline() -> None:
    """A peer that was measured in a slower minute of the machine is not blamed for it."""
    slow = one_round(0.9)
    slow["peers"]["original"]["16"] |= {"bare_fps": 150.0, "p99_ms": 800.0}
    assert measured("p99 latency").figure == pytest.approx(20 / 400)
    assert measured("p99 latency", rounds=[slow]).figure == pytest.approx(20 / 400)


def test_what_was_not_measured_is_promised_nothing() -> None:
    words = " ".join(promise.words for promise in promises(run()))
    assert "litserve" not in words
    assert "overload" not in words
    assert "not measured: no wheel for this machine" in tables(run())


def test_overload_is_judged_by_age_by_fairness_and_by_memory() -> None:
    seconds = 9
    ours = {
        "fps": 200.0,
        "offered_fps": 1000.0,
        "age_p50_ms": 60.0,
        "age_p99_ms": 150.0,
        "ages_ms": [[60.0, 100.0 + second] for second in range(seconds)],
        "drops": {"superseded": 3},
        "frames": 1800,
        "least_served": 880,
        "most_served": 920,
        "memory_bytes": [[second, {"ingress": 100 + second}] for second in range(seconds)],
    }
    overload = {"clients": 2, "served_fps": 200.0, "ours": ours}
    age = measured("÷ cycle", overload=overload)
    assert age.figure == pytest.approx(150 / (1000 * Batching().cycle_s))
    assert measured("last third ÷ first third", overload=overload).figure == 107 / 101
    assert measured("equal share", overload=overload).figure == pytest.approx(20 / 900)
    assert measured("memory", overload=overload).figure == pytest.approx(107 / 104)
    assert "| ours | 1000 | 200 |" in tables(run(overload=overload))
