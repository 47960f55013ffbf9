"""The promises: medians over the rounds against what was asked, and nothing not measured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.promises import Promise, promises
from ingress.settings import Batching
from tests.benchmarks.measured import one_round, overload, run


def found(words: str, **parts: Any) -> Promise:
    (one,) = (promise for promise in promises(run(**parts)) if words in promise.words)
    return one


def test_a_share_is_promised_from_below_and_a_cost_from_above() -> None:
    assert found("bare pipeline, frames/s, 16 clients") == Promise(
        "served v1 mask ÷ bare pipeline, frames/s, 16 clients", 0.9, 0.9
    )
    assert found("original, frames/s").figure == pytest.approx(9)
    idle = found("idle")
    assert idle.figure == pytest.approx(0.09)
    assert idle.holds
    assert not Promise("idle", 0.13, 0.12, at_most=True).holds
    assert "**no**" in Promise("idle", 0.13, 0.12, at_most=True).row


def test_latencies_are_compared_in_frames_of_the_bare_pipeline() -> None:
    """A peer that was measured in a slower minute of the machine is not blamed for it."""
    slow = one_round(0.9)
    slow["peers"]["original"]["16"] |= {"bare_fps": 150.0, "p99_ms": 800.0}
    assert found("p99 latency").figure == pytest.approx(20 / 400)
    assert found("p99 latency", rounds=[slow]).figure == pytest.approx(20 / 400)


def test_what_was_not_measured_is_promised_nothing() -> None:
    words = " ".join(promise.words for promise in promises(run()))
    assert "litserve" not in words
    assert "overload" not in words
    assert promises(run(rounds=[{}])) == []


def test_overload_is_judged_by_age_by_fairness_and_by_memory() -> None:
    age = found("÷ cycle", overload=overload())
    assert age.figure == pytest.approx(150 / (1000 * Batching().cycle_s))
    assert found("last third ÷ first third", overload=overload()).figure == 107 / 101
    assert found("equal share", overload=overload()).figure == pytest.approx(20 / 900)
    assert found("least served", overload=overload()).holds
    assert found("memory", overload=overload()).figure == pytest.approx(107 / 104)
