"""The bare pipeline's account of itself: rates over threads, and one frame at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest

from benchmarks.bare import rate, single
from models.pipeline import Pipeline
from models.work import FrameFailure, FrameOutcome, FrameRequest, FrameResult


class FakePipeline:
    """Answers a batch with one frame's outcome; keeps the pictures that it was given."""

    def __init__(self, outcome: FrameOutcome) -> None:
        self._outcome = outcome
        self.pictures: list[bytes] = []

    def run(self, requests: Sequence[FrameRequest]) -> list[FrameOutcome]:
        (request,) = requests
        assert request.view.output == "mask"
        self.pictures.append(request.image)
        return [self._outcome]


def line(outcome: FrameOutcome) -> tuple[Pipeline, FakePipeline]:
    fake = FakePipeline(outcome)
    return cast("Pipeline", fake), fake


def test_a_rate_counts_the_frames_of_every_thread() -> None:
    threads = set[int]()
    both = threading.Barrier(2, timeout=20.0)

    def call() -> None:
        if threading.current_thread() is threading.main_thread():
            return  # the first call warms up
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            both.wait()

    told = rate(2, 16, 0.02, call)
    assert len(threads) == 2
    assert told["fps"] > 0
    assert told["cpu_ms"] >= 0


def test_one_frame_at_a_time_goes_round_the_clip_and_tells_of_its_stages() -> None:
    result = FrameResult(b"mask", "image/png", 1, 1, (), b"", {"decode": 0.5, "inference": 4.0})
    pipeline, fake = line(result)
    told = single(pipeline, [b"a", b"b"], 0.02)
    assert fake.pictures[:3] == [b"a", b"b", b"a"]
    assert told["stages_ms"] == {"decode": 0.5, "inference": 4.0}
    assert told["p50_ms"] > 0
    assert told["fps"] > 0


def test_a_frame_that_fails_is_no_measurement() -> None:
    pipeline, _ = line(FrameFailure("INFERENCE_FAILED", "no memory"))
    with pytest.raises(AssertionError, match="no memory"):
        single(pipeline, [b"a"], 60.0)
