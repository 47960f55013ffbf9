"""Where a mode's network runs, and the one call that runs it.

The same torch module has two homes: a CUDA device, where PyTorch runs it in
float16, and the CPU, where OpenVINO does (1.5 to 4 times as fast as PyTorch
there) or, without OpenVINO, PyTorch in float32. ``choose`` is the whole rule and
looks at nothing but its arguments.

A runtime is shared by threads. It tells its caller how to feed it: ``max_batch``
frames profit from one call, ``concurrency`` calls profit from running at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from models.catalog import ModeSpec

DeviceName = Literal["cpu", "cuda"]
RuntimeName = Literal["torch", "openvino"]
DeviceWish = Literal["auto", "cpu", "cuda"]
RuntimeWish = Literal["auto", "torch", "openvino"]
Frames = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


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


class Runtime(ABC):
    """One mode, loaded and warm. ``predict`` may be called from any thread."""

    name: RuntimeName
    device: DeviceName
    dtype: Literal["float16", "float32"]  # of the computation; probabilities are float32
    max_batch: int  # frames in one call of the network
    concurrency: int  # calls of predict worth running at once

    def __init__(self, spec: ModeSpec) -> None:
        self._frame_shape = (*spec.input_size, 3)
        self._channels = 1 if len(spec.labels) == 2 else len(spec.labels)
        self._closed = False

    def predict(self, frames: Frames) -> Probabilities:
        """uint8 RGB ``[B, H, W, 3]`` to float32 probabilities ``[B, C, H, W]``, any B.

        H and W are the mode's input size; C is 1 (the foreground) for a mode of two
        classes, else the number of classes.

        Raises:
            ValueError: the array has another shape or dtype.
            RuntimeError: the runtime is closed, or the device failed.
        """
        self._check(frames)
        height, width = self._frame_shape[:2]
        out = np.empty((len(frames), self._channels, height, width), np.float32)
        for start in range(0, len(frames), self.max_batch):
            part = slice(start, start + self.max_batch)
            self._infer(np.ascontiguousarray(frames[part]), out[part])
        return out

    def _check(self, frames: Frames) -> None:
        if self._closed:
            raise RuntimeError("this runtime is closed")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != self._frame_shape:
            height, width = self._frame_shape[:2]
            raise ValueError(
                f"frames are {frames.dtype} {list(frames.shape)}; "
                f"this mode takes uint8 [B, {height}, {width}, 3]"
            )

    def _warm_up(self, batch_sizes: tuple[int, ...]) -> None:
        """Run blank batches, so that no client's first frame pays for set-up."""
        for size in batch_sizes:
            self.predict(np.zeros((size, *self._frame_shape), np.uint8))

    @abstractmethod
    def _infer(self, frames: Frames, out: Probabilities) -> None:
        """Write the probabilities of 1 to ``max_batch`` contiguous frames into ``out``."""

    def close(self) -> None:
        """Refuse further calls and give the memory back. A second call does nothing."""
        self._closed = True


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
        models.segmentation.WeightsError: the weights are missing or damaged.
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
