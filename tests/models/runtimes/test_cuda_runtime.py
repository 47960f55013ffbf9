"""The CUDA runtime on a device of plain memory, and, marked ``cuda``, on a real one.

The device of plain memory fills what it lends with values that no frame has, so a row that
was never written shows.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.catalog import MODES, ModeSpec
from models.networks import segmentation
from models.networks.segmentation import SegmentationNetwork
from models.runtimes.base import Frames
from models.runtimes.cuda_device import CudaDevice
from models.runtimes.cuda_runtime import CUDA_BATCHES, CudaRuntime, Shape, Work, rounded_batch
from models.runtimes.torch_runtime import TorchRuntime

Reference = Callable[[ModeSpec], tuple[NDArray[np.uint8], NDArray[np.float32]]]

PERSON = MODES["person"]
SMALL = replace(
    PERSON, input_size=(4, 6), labels=("none", "red"), mean=(0.0,) * 3, std=(255.0,) * 3
)
PATIENCE_S = 10


class PlainStream:
    """Does the work at once; notes what it captured, and any second thread in it."""

    def __init__(self, device: "PlainDevice") -> None:
        self._device = device
        self._taken = threading.Lock()
        self.captured = 0

    def capture(self, work: Work) -> Work:
        work()
        self.captured += 1
        if self._device.fails_at == self.captured:
            raise RuntimeError("operation not permitted when stream is capturing")

        def replay() -> None:
            self._device.replays += 1
            work()

        return replay

    def run(self, work: Work) -> None:
        assert self._taken.acquire(blocking=False), "two calls share a lane"
        try:
            self._device.on_run()
            work()
        finally:
            self._taken.release()


class PlainDevice:
    """Memory of this machine; ``fails_at`` is which of a stream's captures fails, if any."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.replays = 0
        self.streams: list[PlainStream] = []
        self.lent: list[Tensor] = []
        self.on_run: Callable[[], None] = lambda: None

    def place(self, model: SegmentationNetwork) -> None:
        """Float32, where it is."""

    def pinned(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        self.lent.append(torch.empty(shape, dtype=dtype))
        self.spoil()
        return self.lent[-1]

    resident = pinned

    def open_stream(self) -> PlainStream:
        self.streams.append(PlainStream(self))
        return self.streams[-1]

    def spoil(self) -> None:
        for tensor in self.lent:
            tensor.fill_(7 if tensor.dtype == torch.uint8 else torch.nan)


class FirstChannel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1]


@pytest.fixture
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The red of each pixel as its logit, or, of more classes, the colours as theirs."""

    def load(spec: ModeSpec) -> SegmentationNetwork:
        logits = FirstChannel() if len(spec.labels) == 2 else nn.Identity()
        return SegmentationNetwork(logits, spec.mean, spec.std, len(spec.labels)).eval()

    monkeypatch.setattr(segmentation, "load", load)


def small_frames(count: int, first: int = 50) -> Frames:
    """Frames of one value each: ``first``, ``first + 1``, ..."""
    values = np.arange(first, first + count, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values[:, None, None, None], (count, 4, 6, 3)))


def expected(frames: Frames) -> NDArray[np.float32]:
    red = frames[..., 0][:, None].astype(np.float32) / 255
    return (1 / (1 + np.exp(-red))).astype(np.float32)


@pytest.mark.parametrize(
    ("frames", "batch"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16)]
)
def test_a_batch_is_rounded_up_to_one_that_was_captured(frames: int, batch: int) -> None:
    assert rounded_batch(frames) == batch
    assert batch in CUDA_BATCHES


@pytest.mark.usefixtures("_small_network")
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 40])
def test_any_number_of_frames_gets_its_answers_in_order(count: int) -> None:
    runtime = CudaRuntime(SMALL, PlainDevice())
    frames = small_frames(count)
    np.testing.assert_allclose(runtime.predict(frames), expected(frames), atol=1e-6)


@pytest.mark.usefixtures("_small_network")
def test_the_classes_of_a_pixel_stay_together() -> None:
    three = replace(SMALL, labels=("red", "green", "blue"))
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    frames[..., 2] = 255
    probabilities = CudaRuntime(three, PlainDevice()).predict(frames)
    blue = np.e / (np.e + 2)
    np.testing.assert_allclose(probabilities[:, 2], blue, atol=1e-6)
    np.testing.assert_allclose(probabilities[:, :2], (1 - blue) / 2, atol=1e-6)


@pytest.mark.usefixtures("_small_network")
def test_rows_past_the_frames_never_travel() -> None:
    device = PlainDevice()
    runtime = CudaRuntime(SMALL, device)
    device.spoil()
    frames = small_frames(3)
    np.testing.assert_allclose(runtime.predict(frames), expected(frames), atol=1e-6)
    departing, on_device, _, arriving = device.lent[:4]
    assert (departing[:3, 0, 0, 0] == torch.tensor([50, 51, 52])).all()
    assert (on_device[:3] == departing[:3]).all()
    assert (departing[3:] == 7).all()
    assert (on_device[3:] == 7).all()
    assert arriving[3:].isnan().all()


@pytest.mark.usefixtures("_small_network")
def test_each_lane_captures_and_warms_up_every_size() -> None:
    device = PlainDevice()
    runtime = CudaRuntime(SMALL, device)
    every_size_in_each = len(CUDA_BATCHES) * runtime.concurrency
    assert [stream.captured for stream in device.streams] == [5, 5]
    assert device.replays == every_size_in_each
    runtime.predict(small_frames(3))
    assert device.replays == every_size_in_each + 1


@pytest.mark.usefixtures("_small_network")
@pytest.mark.parametrize("failing", [1, 3, 5])
def test_what_cannot_be_captured_runs_eagerly_and_says_so_once(
    failing: int, caplog: pytest.LogCaptureFixture
) -> None:
    device = PlainDevice(fails_at=failing)
    runtime = CudaRuntime(SMALL, device)
    frames = small_frames(21)
    np.testing.assert_allclose(runtime.predict(frames), expected(frames), atol=1e-6)
    assert device.replays == 0
    (line,) = caplog.messages
    assert "person runs without CUDA graphs" in line
    assert "operation not permitted" in line


@pytest.mark.usefixtures("_small_network")
def test_two_calls_run_at_once_and_never_in_one_lane() -> None:
    device = PlainDevice()
    runtime = CudaRuntime(SMALL, device)
    # A call goes on only beside another, so both lanes must be in use; a lane lent twice
    # fails in PlainStream.run.
    pairs = threading.Barrier(2, timeout=PATIENCE_S)

    def beside_another() -> None:
        pairs.wait()

    device.on_run = beside_another
    batches = [small_frames(count % 3 + 1, first=10 * count) for count in range(16)]
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(runtime.predict, batches))
    for frames, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer, expected(frames), atol=1e-6)


@pytest.mark.usefixtures("_small_network")
def test_a_lane_comes_back_from_a_call_that_failed() -> None:
    device = PlainDevice()
    runtime = CudaRuntime(SMALL, device)

    def fail() -> None:
        raise RuntimeError("the device has fallen off the bus")

    device.on_run = fail
    for _ in range(2 * runtime.concurrency):
        with pytest.raises(RuntimeError, match="fallen off"):
            runtime.predict(small_frames(1))
    device.on_run = lambda: None
    answer = runtime.predict(small_frames(1))
    np.testing.assert_allclose(answer, expected(small_frames(1)), atol=1e-6)


def test_a_real_network_stays_near_the_reference(reference: Reference) -> None:
    frame, recorded = reference(PERSON)
    runtime = CudaRuntime(PERSON, PlainDevice())
    probabilities = runtime.predict(np.repeat(frame, 3, axis=0))
    np.testing.assert_allclose(probabilities, np.repeat(recorded, 3, axis=0), rtol=0, atol=1e-4)


@pytest.mark.cuda
@pytest.mark.parametrize("spec", MODES.values(), ids=list(MODES))
def test_cuda_stays_near_the_cpu_at_every_batch_size(
    spec: ModeSpec, reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames differ within a batch, so that rows cannot be mixed up unseen."""
    frame, _ = reference(spec)
    frames = np.concatenate([np.roll(frame, 16 * i, axis=2) for i in range(17)])
    on_cpu = TorchRuntime(spec)
    near = on_cpu.predict(frames)
    on_cuda = CudaRuntime(spec, CudaDevice())
    assert caplog.messages == []  # every size was captured
    for count in (*CUDA_BATCHES, 3, 17):
        difference = np.abs(on_cuda.predict(frames[:count]) - near[:count])
        for row in difference:
            assert row.mean() < 3e-3
            assert np.mean(row > 0.05) < 5e-3


@pytest.mark.cuda
def test_cuda_gives_calls_at_once_their_own_answers(reference: Reference) -> None:
    frame, _ = reference(PERSON)
    batches = [
        np.repeat(np.roll(frame, 16 * i, axis=2), CUDA_BATCHES[i % 5], axis=0) for i in range(20)
    ]
    runtime = CudaRuntime(PERSON, CudaDevice())
    one_by_one = [runtime.predict(batch) for batch in batches]
    with ThreadPoolExecutor(4) as callers:
        at_once = list(callers.map(runtime.predict, batches))
    for together, alone in zip(at_once, one_by_one, strict=True):
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-3)


@pytest.mark.cuda
def test_cuda_loads_one_mode_while_another_serves(
    reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    """Captures of one thread, calls of another: neither breaks the other."""
    frame, _ = reference(PERSON)
    serving = CudaRuntime(PERSON, CudaDevice())
    alone = serving.predict(frame)
    with ThreadPoolExecutor(1) as loader:
        loading = loader.submit(CudaRuntime, MODES["parts"], CudaDevice())
        answers = [serving.predict(frame)]
        while not loading.done():
            answers.append(serving.predict(frame))
    loading.result()
    assert caplog.messages == []
    for answer in answers:
        np.testing.assert_allclose(answer, alone, rtol=0, atol=1e-3)
