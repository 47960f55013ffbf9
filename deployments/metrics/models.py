"""The metric tables of the deployments that compute, one per replica.

A frame costs no look-up of labels: the series of a mode are kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from deployments.metrics.table import Table
from models.work import FrameFailure, FrameOutcome

_FRAME_OUTCOMES = ("result", "rejected", "failed")
_STAGES = ("decode", "inference", "render", "encode")
_CALL_OUTCOMES = ("done", "failed")
_NO_BUG = frozenset({"FRAME_REJECTED", "RESULT_TOO_LARGE"})  # but what was sent, or asked for

_STAGE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_BATCH = (1, 2, 4, 8, 16, 32, 64)
_LOAD = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)


class SegmenterMetrics(Table):
    """One segmenter replica: its frames by mode, and the loading of its modes."""

    def __init__(self, modes: Iterable[str]) -> None:
        super().__init__()
        self._loaded = self._gauge(
            "segmenter_mode_loaded", "1 where the mode is loaded and warm.", "mode"
        )
        self._load_seconds = self._histogram(
            "segmenter_load_seconds", "Time to load and warm up a mode.", _LOAD, "mode"
        )
        self._load_failures = self._counter(
            "segmenter_load_failures", "Loads of a mode that failed.", "mode"
        )
        frames = self._counter(
            "segmenter_frames", "Frames by how the work on them ended.", "mode", "outcome"
        )
        batch = self._histogram(
            "segmenter_batch_frames", "Frames in a batch that was answered.", _BATCH, "mode"
        )
        about_stages = "Time that a result spent in each stage of the work."
        stage = self._histogram("segmenter_stage_seconds", about_stages, _STAGE, "mode", "stage")
        modes = tuple(modes)
        self._frames = {m: {o: frames.labels(m, o) for o in _FRAME_OUTCOMES} for m in modes}
        self._batch = {m: batch.labels(m) for m in modes}
        self._stage = {m: {s: stage.labels(m, s) for s in _STAGES} for m in modes}
        for series in (self._loaded, self._load_seconds, self._load_failures):
            for mode in modes:
                series.labels(mode)

    def answered(self, mode: str, outcomes: Sequence[FrameOutcome]) -> None:
        """Account for a batch that was answered."""
        frames, stages = self._frames[mode], self._stage[mode]
        self._batch[mode].observe(len(outcomes))
        failed = 0
        for outcome in outcomes:
            if not isinstance(outcome, FrameFailure):
                frames["result"].inc()
                for name, elapsed_ms in outcome.stages_ms.items():
                    stages[name].observe(elapsed_ms / 1e3)
            elif outcome.code in _NO_BUG:
                frames["rejected"].inc()
            else:
                failed += 1
        if failed:
            frames["failed"].inc(failed)
            # One call to a network that raises takes all of its frames with it.
            self.unhandled_exceptions.inc()

    @contextmanager
    def loading(self, mode: str) -> Iterator[None]:
        """Time the load of ``mode``; what it raises is counted and passes."""
        begun = time.perf_counter()
        with self._load_failures.labels(mode).count_exceptions():
            yield
        self._load_seconds.labels(mode).observe(time.perf_counter() - begun)
        self._loaded.labels(mode).set(1)


class StatsMetrics(Table):
    """One statistics replica: its calls."""

    def __init__(self) -> None:
        super().__init__()
        calls = self._counter(
            "stats_calls", "Calls for scene statistics by how they ended.", "outcome"
        )
        self._calls = {outcome: calls.labels(outcome) for outcome in _CALL_OUTCOMES}
        about = "Time of a call for scene statistics, waiting for a thread included."
        self._seconds = self._histogram("stats_seconds", about, _STAGE)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Account for one call; what it raises is counted and passes."""
        with (
            self._seconds.time(),
            self._calls["failed"].count_exceptions(),
            self.unhandled_exceptions.count_exceptions(),
        ):
            yield
        self._calls["done"].inc()
