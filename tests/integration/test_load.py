"""The benchmark's load generator against the real application: what it counts is what came."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import frames
from benchmarks.load.process import under_load
from benchmarks.served import Running
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "frames"
    frames.write(frames.make()[:4], path)
    return path


@pytest.mark.parametrize(("speaks", "output"), [("v1", "mask"), ("plain", "overlay")])
def test_a_closed_loop_serves_every_client(
    server: ServeApp, pictures: Path, speaks: str, output: str
) -> None:
    running = Running(server.ws, lambda: server.server.family)
    before = server.metric("segstream_frames_total", outcome="result")
    point = under_load(
        running, "closed", pictures, speaks=speaks, output=output, clients=3, warmup=0.2, seconds=1
    )
    assert point["least_served"] >= 1
    assert 0 < point["frames"] <= server.metric("segstream_frames_total", outcome="result") - before
    assert point["p50_ms"] <= point["p99_ms"]
    assert {"segmenter", "ingress", "load"} <= set(point["cpu_ms"])
    assert point["bytes_up"] > 10_000


def test_no_frame_is_under_way_in_a_rest(server: ServeApp, pictures: Path) -> None:
    running = Running(server.ws, lambda: server.server.family)
    results: list[float] = []

    def rest() -> None:
        result = server.metric("segstream_frames_total", outcome="result")
        results.extend((result, server.metric("segstream_frames_total", outcome="result")))

    point = under_load(
        running, "closed", pictures, rest, speaks="v1", clients=2, warmup=0.2, seconds=0.5, slices=3
    )
    assert len(point["slices_fps"]) == 3
    assert point["fps"] == pytest.approx(sum(point["slices_fps"]) / 3)
    (first, still_first, second, still_second) = results
    assert first == still_first < second == still_second


def test_a_paced_load_tells_the_age_of_each_result(server: ServeApp, pictures: Path) -> None:
    running = Running(server.ws, lambda: server.server.family)
    point = under_load(
        running, "paced", pictures, speaks="v1", clients=2, fps=10, warmup=0.5, seconds=2
    )
    assert 0 < point["offered_fps"] <= 22, "two cameras of 10 frames a second, never faster"
    assert point["least_served"] >= 1
    assert 0 < point["age_p50_ms"] <= point["age_p99_ms"]
    assert len(point["ages_ms"]) == 2
