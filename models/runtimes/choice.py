"""The choice of a runtime: where a mode's network runs on this machine.

The same torch module has two homes: a CUDA device, where PyTorch runs it in
float16, and the CPU, where OpenVINO does (1.5 to 4 times as fast as PyTorch
there) or, without OpenVINO, PyTorch in float32. ``choose`` is the whole rule and
looks at nothing but its arguments; ``open_runtime`` asks it about this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

import torch

from models.catalog import ModeSpec
from models.runtimes.base import DeviceName, Runtime, RuntimeName

DeviceWish = Literal["auto", "cpu", "cuda"]
RuntimeWish = Literal["auto", "torch", "openvino"]


class UnavailableRuntime(RuntimeError):
    """The device or the runtime asked for cannot be had here."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A device and the runtime that runs on it."""

    device: DeviceName
    runtime: RuntimeName


def choose(
    device: DeviceWish, runtime: RuntimeWish, *, cuda_available: bool, openvino_available: bool
) -> Choice:
    """The fastest pair that the wishes and the machine allow.

    Raises:
        UnavailableRuntime: the wishes contradict each other or the machine.
        ValueError: a wish is none of the allowed words.
    """
    _check_word("device", device, get_args(DeviceWish))
    _check_word("runtime", runtime, get_args(RuntimeWish))
    if device == "cuda" and runtime == "openvino":
        raise UnavailableRuntime(
            "runtime 'openvino' runs on the CPU only; "
            "set device to 'cpu', or runtime to 'torch' or 'auto'"
        )
    if device == "cuda" and not cuda_available:
        raise UnavailableRuntime(
            "device 'cuda' was asked for and PyTorch sees no CUDA device; "
            "set device to 'cpu' or 'auto', or install a CUDA build of PyTorch"
        )
    if runtime == "openvino" and not openvino_available:
        raise UnavailableRuntime(
            "runtime 'openvino' was asked for and the openvino package is not installed; "
            "install it, or set runtime to 'torch' or 'auto'"
        )
    if device == "cuda" or (device == "auto" and cuda_available and runtime != "openvino"):
        return Choice("cuda", "torch")
    if runtime == "torch" or not openvino_available:
        return Choice("cpu", "torch")
    return Choice("cpu", "openvino")


def _check_word(field: str, word: str, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise ValueError(f"{field} is {word!r}; it is one of {', '.join(allowed)}")


def open_runtime(
    spec: ModeSpec,
    device: DeviceWish = "auto",
    runtime: RuntimeWish = "auto",
    threads: int | None = None,
) -> Runtime:
    """Load the mode where ``choose`` says, and warm it up. Takes up to a few seconds.

    ``threads`` bounds the CPU threads of inference; None takes PyTorch's own number.

    Raises:
        UnavailableRuntime, ValueError: as ``choose``.
        models.networks.segmentation.WeightsError: the weights are missing or damaged.
    """
    choice = choose(
        device,
        runtime,
        cuda_available=torch.cuda.is_available(),
        openvino_available=find_spec("openvino") is not None,
    )
    # Imported when chosen: openvino may be absent, and none is worth loading for nothing.
    if choice.device == "cuda":
        from models.runtimes.cuda_device import CudaDevice
        from models.runtimes.cuda_runtime import CudaRuntime

        return CudaRuntime(spec, CudaDevice())
    if choice.runtime == "openvino":
        from models.runtimes.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(spec, threads)
    from models.runtimes.torch_runtime import TorchRuntime

    return TorchRuntime(spec, threads)
