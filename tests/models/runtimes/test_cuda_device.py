"""On the CPU: the order of the calls, with ``torch.cuda`` replaced. What they do needs a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from models.runtimes import cuda_device
from models.runtimes.cuda_device import CudaDevice, CudaStream

Calls = list[str]


class Graph:
    def replay(self) -> None: ...


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What was called, in order, by what replaces ``torch.cuda``."""
    said: Calls = []

    class Stream: ...

    class Event:
        def __init__(self, *, blocking: bool) -> None:
            self.how = "asleep" if blocking else "spinning"

        def record(self, _: Stream) -> None:
            said.append("record")

        def synchronize(self) -> None:
            said.append(f"wait {self.how}")

    @contextmanager
    def stream(_: Stream) -> Iterator[None]:
        said.append("enter stream")
        try:
            yield
        finally:
            said.append("leave stream")

    @contextmanager
    def graph(_: Graph, *, pool: str, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert isinstance(stream, Stream)
        said.append(f"capture {capture_error_mode} in {pool}")
        yield
        said.append("captured")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(cuda_device, "_failed", [])
    return said


def test_work_is_queued_in_the_stream_and_waited_for_asleep(calls: Calls) -> None:
    CudaStream().run(lambda: calls.append("work"))
    assert calls == ["enter stream", "work", "record", "wait asleep", "leave stream"]


def test_work_that_raises_is_waited_for_too(calls: Calls) -> None:
    def work() -> None:
        raise RuntimeError("no kernel image")

    with pytest.raises(RuntimeError, match="no kernel image"):
        CudaStream().run(work)
    assert calls == ["enter stream", "record", "wait asleep", "leave stream"]


def test_a_capture_follows_three_passes_and_minds_its_own_thread_alone(calls: Calls) -> None:
    CudaStream().capture(lambda: calls.append("work"))
    capture = ["capture thread_local in pool", "work", "captured"]
    assert calls == ["enter stream", *["work"] * 3, *capture, "leave stream"]


def test_a_graph_that_failed_is_kept_and_the_next_capture_has_its_turn(calls: Calls) -> None:
    def work() -> None:
        if calls[-1].startswith("capture "):
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaStream().capture(work)
    assert calls[-1] == "leave stream"
    assert len(cuda_device._failed) == 1
    CudaStream().capture(lambda: None)
    assert calls[-2:] == ["captured", "leave stream"]


@pytest.mark.cuda
def test_a_captured_graph_reads_its_tensors_anew_at_each_run() -> None:
    device = CudaDevice()
    stream = device.open_stream()
    sent, doubled = (device.resident((4,), torch.float32) for _ in range(2))
    back = device.pinned((4,), torch.float32)

    def double() -> None:
        doubled.copy_(sent * 2)

    launch = stream.capture(double)
    for value in (1.0, 5.0):

        def work(value: float = value) -> None:
            sent.fill_(value)
            launch()
            back.copy_(doubled, non_blocking=True)

        stream.run(work)
        assert back.tolist() == [2 * value] * 4


@pytest.mark.cuda
def test_a_synchronising_capture_fails_and_leaves_the_device_usable() -> None:
    device = CudaDevice()
    numbers = torch.ones(4, device="cuda")
    torch.cuda.synchronize()
    back = device.pinned((4,), torch.float32)

    def synchronise() -> None:
        numbers.sum().item()

    def fetch() -> None:
        back.copy_(numbers, non_blocking=True)

    with pytest.raises(RuntimeError):
        device.open_stream().capture(synchronise)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    device.open_stream().run(fetch)
    assert back.tolist() == [1.0] * 4
