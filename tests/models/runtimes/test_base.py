from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import numpy as np
import pytest
import torch

import models.runtimes.base
import models.runtimes.cuda_runtime
from models.catalog import MODES, ModeSpec
from models.runtimes.base import (
    Choice,
    DeviceWish,
    Frames,
    Probabilities,
    Runtime,
    RuntimeWish,
    UnavailableRuntime,
    choose,
    open_runtime,
)
from models.runtimes.cuda_device import CudaDevice

ON_CUDA, ON_OPENVINO, ON_CPU = (
    Choice("cuda", "torch"),
    Choice("cpu", "openvino"),
    Choice("cpu", "torch"),
)


@pytest.mark.parametrize(
    ("device", "runtime", "cuda", "openvino", "choice"),
    [
        ("auto", "auto", True, True, ON_CUDA),
        ("auto", "auto", True, False, ON_CUDA),
        ("auto", "auto", False, True, ON_OPENVINO),
        ("auto", "auto", False, False, ON_CPU),
        ("auto", "torch", True, True, ON_CUDA),
        ("auto", "torch", False, True, ON_CPU),
        ("auto", "openvino", True, True, ON_OPENVINO),
        ("auto", "openvino", False, True, ON_OPENVINO),
        ("cpu", "auto", True, True, ON_OPENVINO),
        ("cpu", "auto", True, False, ON_CPU),
        ("cpu", "torch", True, True, ON_CPU),
        ("cpu", "openvino", True, True, ON_OPENVINO),
        ("cuda", "auto", True, True, ON_CUDA),
        ("cuda", "torch", True, False, ON_CUDA),
    ],
)
def test_the_fastest_allowed_pair_is_chosen(
    device: DeviceWish, runtime: RuntimeWish, cuda: bool, openvino: bool, choice: Choice
) -> None:
    assert choose(device, runtime, cuda_available=cuda, openvino_available=openvino) == choice


@pytest.mark.parametrize(
    ("device", "runtime", "cuda", "openvino", "says"),
    [
        ("cuda", "auto", False, True, "PyTorch sees no CUDA device"),
        ("cuda", "torch", False, True, "PyTorch sees no CUDA device"),
        ("cuda", "openvino", True, True, "runs on the CPU only"),
        ("auto", "openvino", True, False, "openvino package is not installed"),
        ("cpu", "openvino", False, False, "openvino package is not installed"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_way_out(
    device: DeviceWish, runtime: RuntimeWish, cuda: bool, openvino: bool, says: str
) -> None:
    with pytest.raises(UnavailableRuntime, match=f"{says}.*set "):
        choose(device, runtime, cuda_available=cuda, openvino_available=openvino)


@pytest.mark.parametrize(("device", "runtime"), [("gpu", "auto"), ("auto", "onnx")])
def test_an_unknown_word_is_answered_with_the_known_ones(device: str, runtime: str) -> None:
    with pytest.raises(ValueError, match="it is one of auto, "):
        choose(device, runtime, cuda_available=True, openvino_available=True)  # type: ignore[arg-type]


class Recorder(Runtime):
    """Answers each frame with the value of its first pixel, two frames at a time."""

    name, device, dtype, max_batch, concurrency = "torch", "cpu", "float32", 2, 1

    def __init__(self, classes: int = 2) -> None:
        labels = tuple(map(str, range(classes)))
        super().__init__(replace(MODES["person"], input_size=(4, 6), labels=labels))
        self.batches: list[int] = []

    def _infer(self, frames: Frames, out: Probabilities) -> None:
        assert frames.flags.c_contiguous
        self.batches.append(len(frames))
        out[...] = frames[:, :1, :1, :1]


def numbered_frames(count: int) -> Frames:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((4, 6, 3), np.uint8)


@pytest.mark.parametrize(("count", "batches"), [(0, []), (1, [1]), (2, [2]), (5, [2, 2, 1])])
def test_any_number_of_frames_is_split_and_joined_in_order(count: int, batches: list[int]) -> None:
    runtime = Recorder()
    probabilities = runtime.predict(numbered_frames(count))
    assert runtime.batches == batches
    assert probabilities.shape == (count, 1, 4, 6)
    assert probabilities.dtype == np.float32
    assert probabilities[:, 0, 0, 0].tolist() == list(range(count))


def test_more_than_two_classes_have_a_channel_each() -> None:
    assert Recorder(classes=6).predict(numbered_frames(1)).shape == (1, 6, 4, 6)


def test_frames_cut_from_a_larger_picture_are_taken() -> None:
    wide = np.zeros((3, 4, 12, 3), np.uint8)
    assert Recorder().predict(wide[:, :, ::2]).shape == (3, 1, 4, 6)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 6, 3), np.uint8),
        np.zeros((1, 6, 4, 3), np.uint8),
        np.zeros((1, 4, 6, 3), np.float32),
    ],
)
def test_frames_of_another_kind_are_refused(frames: Frames) -> None:
    with pytest.raises(ValueError, match=r"this mode takes uint8 \[B, 4, 6, 3\]"):
        Recorder().predict(frames)


def test_a_closed_runtime_refuses_frames() -> None:
    runtime = Recorder()
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeError, match="closed"):
        runtime.predict(numbered_frames(1))


def test_cuda_without_a_gpu_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableRuntime, match="no CUDA device"):
        open_runtime(MODES["person"], device="cuda")


def test_a_gpu_gets_the_runtime_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[ModeSpec, object]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        models.runtimes.cuda_runtime, "CudaRuntime", lambda *given: opened.append(given)
    )
    open_runtime(MODES["person"])
    ((spec, device),) = opened
    assert spec is MODES["person"]
    assert isinstance(device, CudaDevice)


def test_without_openvino_the_cpu_falls_back_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_installed(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(models.runtimes.base, "find_spec", nothing_installed)
    opened = open_runtime(MODES["person-wide"])
    assert (opened.name, opened.device, opened.dtype) == ("torch", "cpu", "float32")
    opened.close()


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
def test_with_openvino_the_cpu_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    opened = open_runtime(MODES["person-wide"], threads=1)
    assert (opened.name, opened.device, opened.dtype) == ("openvino", "cpu", "float32")
    opened.close()
