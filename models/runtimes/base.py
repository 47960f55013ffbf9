"""A runtime: one mode's network, loaded and warm, and the one call that runs it.

A runtime is shared by threads. It tells its caller how to feed it: ``max_batch``
frames profit from one call, ``concurrency`` calls profit from running at once. It lasts
as long as its process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.catalog import ModeSpec

DeviceName = Literal["cpu", "cuda"]
RuntimeName = Literal["torch", "openvino"]
Frames = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


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

    def predict(self, frames: Frames) -> Probabilities:
        """uint8 RGB ``[B, H, W, 3]`` to float32 probabilities ``[B, C, H, W]``, any B.

        H and W are the mode's input size; C is 1 (the foreground) for a mode of two
        classes, else the number of classes.

        Raises:
            ValueError: the array has another shape or dtype.
            RuntimeError: the device failed.
        """
        self._check(frames)
        height, width = self._frame_shape[:2]
        out = np.empty((len(frames), self._channels, height, width), np.float32)
        for start in range(0, len(frames), self.max_batch):
            part = slice(start, start + self.max_batch)
            self._infer(np.ascontiguousarray(frames[part]), out[part])
        return out

    def _check(self, frames: Frames) -> None:
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
