"""A replica loads a mode once, beside its event loop, and tries again after a failure."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import ray
from ray import serve
from ray.serve._private import replica

from deployments import segmenter as module
from deployments.lines.line import Line
from deployments.metrics.exposition import page
from deployments.segmenter import Segmenter
from models.catalog import ModeSpec
from models.pictures.limits import ImageLimits
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest


def answer(mode: str, frame: FrameRequest) -> FrameOutcome:
    return FrameFailure("FRAME_REJECTED", f"{mode}:{frame.image.decode()}")


class FakePipeline:
    def __init__(self, spec: ModeSpec, runtime: str, limits: ImageLimits, workers: int) -> None:
        self.spec = spec

    def submit(self, frames: Sequence[FrameRequest]) -> Future[list[FrameOutcome]]:
        future: Future[list[FrameOutcome]] = Future()
        future.set_result([answer(self.spec.name, frame) for frame in frames])
        return future


class Loader:
    """Counts loads; holds them back or fails them on demand."""

    def __init__(self) -> None:
        self.loads: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[str] = set()
        self.threads: set[int] = set()

    def open_runtime(self, spec: ModeSpec, device: str, runtime: str, threads: int) -> object:
        self.loads[spec.name] += 1
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        if spec.name in self.broken:
            raise RuntimeError("no memory")
        return type("Runtime", (), {"name": "fake", "device": "cpu"})


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    loader = Loader()
    monkeypatch.setattr(module, "open_runtime", loader.open_runtime)
    monkeypatch.setattr(module, "Pipeline", FakePipeline)
    return loader


@pytest.fixture
def segmenter(loader: Loader) -> Segmenter:
    return Segmenter(
        ["person", "parts"], "person", "cpu", "auto", 1, ImageLimits(max_pixels=9, max_bytes=9)
    )


FRAMES = [FrameRequest(b"1", View()), FrameRequest(b"2", View())]


async def test_the_first_mode_is_there_from_the_start(segmenter: Segmenter, loader: Loader) -> None:
    assert loader.loads == {"person": 1}
    assert await segmenter.segment("person", FRAMES) == [
        answer("person", frame) for frame in FRAMES
    ]


async def test_a_call_without_frames_is_answered_where_the_mode_is_there_and_counts_as_no_batch(
    segmenter: Segmenter, loader: Loader
) -> None:
    assert await segmenter.segment("parts", []) == []
    assert loader.loads == {"person": 1, "parts": 1}
    registry = segmenter._exposition.registry
    batches = "segstream_segmenter_batch_frames_count"
    assert registry.get_sample_value(batches, {"mode": "parts"}) == 0


async def test_callers_at_once_share_one_load_and_the_loop_goes_on(
    segmenter: Segmenter, loader: Loader
) -> None:
    loader.gate.clear()
    waiting = [asyncio.create_task(segmenter.segment("parts", FRAMES)) for _ in range(5)]
    assert await segmenter.segment("person", FRAMES[:1]) == [answer("person", FRAMES[0])]
    waiting[0].cancel()
    loader.gate.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [[answer("parts", frame) for frame in FRAMES]] * 4
    assert loader.loads["parts"] == 1
    assert len(loader.threads) == 2


async def test_a_load_that_failed_is_tried_again(segmenter: Segmenter, loader: Loader) -> None:
    loader.broken.add("parts")
    with pytest.raises(RuntimeError, match="no memory"):
        await segmenter.prepare("parts")
    loader.broken.clear()
    await segmenter.prepare("parts")
    assert loader.loads["parts"] == 2


async def test_a_mode_of_another_pool_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(ValueError, match="it hosts person, parts"):
        await segmenter.prepare("salient")


async def test_it_takes_calls_at_its_address_until_serve_ends_it(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segmenter.__del__() is None, "nobody has asked for its address"
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(replica_tag="me"))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    line = Line("me")
    await line.open(await segmenter.address("127.0.0.1"))
    assert await line.call("person", FRAMES) == [answer("person", frame) for frame in FRAMES]
    leaving = segmenter.__del__()
    assert leaving is not None
    await leaving
    assert not line.is_open
    assert segmenter.__del__() is None, "once"


def test_serve_still_awaits_what_a_destructor_returns() -> None:
    calls = inspect.getsource(replica.UserCallableWrapper.call_destructor)
    assert "self._callable.__del__" in calls
    assert "if inspect.iscoroutine(result)" in inspect.getsource(
        replica.UserCallableWrapper._call_func_or_gen
    )


async def test_what_a_replica_did_is_what_it_exposes(
    segmenter: Segmenter, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = SimpleNamespace(deployment="segmenter-main", replica_tag="me")
    monkeypatch.setattr(serve, "get_replica_context", lambda: here)
    loader.broken.add("parts")
    await segmenter.segment("person", FRAMES)
    with pytest.raises(RuntimeError, match="no memory"):
        await segmenter.segment("parts", FRAMES)
    lines = page([await segmenter.exposition("another")]).decode().splitlines()
    for name, mode, rest, value in (
        ("frames_total", "person", ',outcome="rejected"', 2),
        ("frames_total", "parts", ',outcome="rejected"', 0),
        ("mode_loaded", "person", "", 1),
        ("mode_loaded", "parts", "", 0),
        ("load_failures_total", "parts", "", 1),
        ("load_seconds_count", "person", "", 1),
    ):
        labels = f'deployment="segmenter-main",mode="{mode}"{rest},replica="me"'
        assert f"segstream_segmenter_{name}{{{labels}}} {value}.0" in lines
