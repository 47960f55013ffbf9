from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import pytest
import torch

import models.runtimes.choice
import models.runtimes.cuda_runtime
from models.catalog import MODES, ModeSpec
from models.runtimes.choice import (
    Choice,
    DeviceWish,
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
    monkeypatch.setattr(models.runtimes.choice, "find_spec", nothing_installed)
    opened = open_runtime(MODES["person-wide"])
    assert (opened.name, opened.device, opened.dtype) == ("torch", "cpu", "float32")


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
def test_with_openvino_the_cpu_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    opened = open_runtime(MODES["person-wide"], threads=1)
    assert (opened.name, opened.device, opened.dtype) == ("openvino", "cpu", "float32")
