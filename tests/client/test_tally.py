"""What a client counts of its stream, by a clock set by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.outcomes import Dropped, Failed
from client.tally import Rate, Tally, percentile
from ingress.wire.pictures import Result
from ingress.wire.words import DropCause, ErrorCode
from tests.client.fake_server import META


def result(captured_s: float) -> Result:
    return Result(1, 1, round(captured_s * 1e6), META, b"")


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([7.0], 0.95, 7.0), ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0), ([1.0, 2.0], 1.0, 2.0)],
)
def test_a_percentile_is_the_nearest_rank(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    within = sum(value <= percentile(values, share) for value in values)
    assert within >= share * len(values)


def test_a_rate_forgets_what_is_older_than_two_seconds() -> None:
    rate = Rate()
    for now in (10.0, 10.5, 11.0, 11.5):
        rate.add(now)
    assert rate.per_second(11.5) == 2.0
    assert rate.per_second(12.5) == 1.0
    assert rate.per_second(99.0) == 0.0


def test_outcomes_are_counted_by_kind() -> None:
    tally = Tally(started=100.0)
    for _ in range(4):
        tally.on_sent(100.5)
    tally.on_outcome(result(100.5), now=100.52)
    tally.on_outcome(Dropped(2, DropCause.STALE), now=100.6)
    tally.on_outcome(Dropped(3, "closed"), now=100.6)
    tally.on_outcome(Failed(4, ErrorCode.FRAME_REJECTED, "no"), now=100.6)
    assert "dropped 2  failed 1" in tally.line(100.6)
    assert "latency p50/p95 20/20 ms" in tally.line(100.6)
    assert tally.summary(102.0).splitlines() == [
        "sent      4 frames in 2.0 s, 2.0 per second",
        "results   1, 0.5 per second",
        "latency   p50/p95 20/20 ms",
        "dropped   1 stale, 1 closed",
        "failed    1 FRAME_REJECTED",
        "returns   none",
    ]


def test_returns_are_counted_with_those_that_resumed() -> None:
    tally = Tally(started=5.0)
    for resumed in (True, False, True):
        tally.on_back(resumed=resumed)
    assert "returns   3 reconnected, 2 resumed" in tally.summary(6.0)


def test_a_run_without_frames_has_a_summary_too() -> None:
    assert "dropped   none" in Tally(started=5.0).summary(5.0)
