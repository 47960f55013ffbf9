"""The tables of segmenter and statistics: complete from the start, exact, named for Prometheus."""

from __future__ import annotations

import subprocess

import pytest
from prometheus_client import CollectorRegistry

from deployments.metrics.exposition import page, written
from deployments.metrics.models import SegmenterMetrics, StatsMetrics
from models.work import FrameFailure, FrameResult
from tests.tools import tool

STAGES_MS = {"decode": 2.0, "inference": 30.0, "render": 0.4, "encode": 1.0}
RESULT = FrameResult(b"", "", 1, 1, (), b"", STAGES_MS)
REJECTED = FrameFailure("FRAME_REJECTED", "not a picture")
TOO_LARGE = FrameFailure("RESULT_TOO_LARGE", "of a size that nobody is sent")
FAILED = FrameFailure("INFERENCE_FAILED", "the model failed")


def changed(registry: CollectorRegistry) -> dict[str, float]:
    """The samples that are not 0, without buckets, by name and label values."""
    return {
        " ".join([sample.name.removeprefix("segstream_"), *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_created", "_bucket"))
    }


@pytest.fixture
def metrics() -> SegmenterMetrics:
    return SegmenterMetrics(["person", "parts"])


def test_what_a_client_asks_for_in_vain_is_no_bug(metrics: SegmenterMetrics) -> None:
    metrics.answered("person", [TOO_LARGE, REJECTED])
    found = changed(metrics.registry)
    assert found["segmenter_frames_total person rejected"] == 2
    assert not any("unhandled" in name for name in found)


def test_every_series_is_there_at_zero_from_the_start(metrics: SegmenterMetrics) -> None:
    assert changed(metrics.registry) == changed(StatsMetrics().registry) == {}
    for mode in ("person", "parts"):
        for outcome in ("result", "rejected", "failed"):
            labels = {"mode": mode, "outcome": outcome}
            name = "segstream_segmenter_frames_total"
            assert metrics.registry.get_sample_value(name, labels) == 0
        for stage in STAGES_MS:
            labels = {"mode": mode, "stage": stage}
            name = "segstream_segmenter_stage_seconds_count"
            assert metrics.registry.get_sample_value(name, labels) == 0
        for name in ("mode_loaded", "load_seconds_count", "load_failures_total"):
            name = f"segstream_segmenter_{name}"
            assert metrics.registry.get_sample_value(name, {"mode": mode}) == 0


def test_a_batch_is_counted_frame_by_frame_in_seconds(metrics: SegmenterMetrics) -> None:
    metrics.answered("person", [RESULT, REJECTED, RESULT])
    assert changed(metrics.registry) == pytest.approx(
        {
            "segmenter_frames_total person result": 2,
            "segmenter_frames_total person rejected": 1,
            "segmenter_batch_frames_count person": 1,
            "segmenter_batch_frames_sum person": 3,
        }
        | {f"segmenter_stage_seconds_count person {stage}": 2 for stage in STAGES_MS}
        | {f"segmenter_stage_seconds_sum person {s}": 2e-3 * ms for s, ms in STAGES_MS.items()}
    )


def test_a_batch_that_failed_is_one_bug(metrics: SegmenterMetrics) -> None:
    metrics.answered("parts", [FAILED, FAILED])
    assert changed(metrics.registry) == {
        "segmenter_frames_total parts failed": 2,
        "segmenter_batch_frames_count parts": 1,
        "segmenter_batch_frames_sum parts": 2,
        "unhandled_exceptions_total": 1,
    }


def test_loads_are_timed_and_failures_counted(metrics: SegmenterMetrics) -> None:
    with pytest.raises(RuntimeError), metrics.loading("parts"):
        raise RuntimeError("no memory")
    assert changed(metrics.registry) == {"segmenter_load_failures_total parts": 1}
    with metrics.loading("parts"):
        pass
    after = changed(metrics.registry)
    assert after["segmenter_mode_loaded parts"] == 1
    assert after["segmenter_load_seconds_count parts"] == 1


def test_a_call_for_statistics_ends_in_one_way() -> None:
    metrics = StatsMetrics()
    with metrics.call():
        pass
    with pytest.raises(ValueError, match="no picture"), metrics.call():
        raise ValueError("no picture")
    after = changed(metrics.registry)
    assert after.pop("stats_seconds_sum") < 1
    assert after == {
        "stats_calls_total done": 1,
        "stats_calls_total failed": 1,
        "stats_seconds_count": 2,
        "unhandled_exceptions_total": 1,
    }


@pytest.mark.parametrize("table", [SegmenterMetrics(["person"]), StatsMetrics()])
def test_promtool_has_nothing_to_say(table: SegmenterMetrics | StatsMetrics) -> None:
    text = page([written(table.registry, "segmenter-main", "r")])
    command = [tool("promtool", package="prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
