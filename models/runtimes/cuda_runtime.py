"""PyTorch on a CUDA device as a runtime: float16, CUDA graphs, two calls at once.

Status: THE CUDA PATH HAS NOT YET RUN ON A GPU. All that needs none is in this file and is
tested on the CPU, with a device of plain memory in place of ``models.runtimes.cuda_device``: the
rounding and splitting of batches, which rows travel, who holds which lane, and the way out
where a graph cannot be captured. Speed, the capture itself, and float16
against the reference wait for ``make cuda``.

Launches, not arithmetic, should bound these networks: one pass is 140 to 370 operations
whatever the batch, each of which the CPU launches in microseconds and the device ends in
as few. A CUDA graph launches them all at once. torch.compile would fuse some, and needs
a C compiler on the host and a compilation for every mode and batch size at each start; a
capture is four passes. Graphs have fixed shapes, so there is one for each size of
``CUDA_BATCHES``, and a batch is rounded up to the next: fewer than half its rows are idle.

A lane is one call's way to the device and back, all of it allocated once: pinned
buffers, device buffers, a stream, and the graphs on these. A stream keeps copy,
kernels and copy in order by itself; two lanes on two streams let the copies of one call
run beside the kernels of the other, and small kernels of both share the device. A stream
for copies alone would need an event at each crossing and let no kernels overlap. The
price is a second set of intermediate values in device memory.

Frames cross the bus as uint8, channels last, and are viewed as channels_last tensors;
probabilities come back as float32. float16, not bfloat16: the latter moves
probabilities by up to 0.3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.catalog import ModeSpec
from models.networks import segmentation
from models.networks.segmentation import SegmentationNetwork
from models.runtimes.base import Frames, Probabilities, Runtime
from models.runtimes.lanes import Lanes

log = logging.getLogger("segstream.cuda")

Work = Callable[[], None]
Shape = tuple[int, ...]

CUDA_BATCHES = (1, 2, 4, 8, 16)
MAX_BATCH = CUDA_BATCHES[-1]


class DeviceStream(Protocol):
    """What a lane needs of ``models.runtimes.cuda_device.CudaStream``."""

    def capture(self, work: Work, /) -> Work:
        """``work`` made cheap to repeat; RuntimeError where it cannot be."""

    def run(self, work: Work, /) -> None:
        """Do ``work`` on the device and return when it is done, or has failed."""


class Device(Protocol):
    """What the runtime needs of ``models.runtimes.cuda_device.CudaDevice``."""

    def place(self, model: SegmentationNetwork, /) -> None:
        """Move ``model`` to the device, in the precision to compute in."""

    def pinned(self, shape: Shape, dtype: torch.dtype, /) -> Tensor:
        """Host memory, not initialised."""

    def resident(self, shape: Shape, dtype: torch.dtype, /) -> Tensor:
        """Device memory, not initialised."""

    def open_stream(self) -> DeviceStream:
        """A stream beside all others."""


def rounded_batch(count: int) -> int:
    """The smallest batch of ``CUDA_BATCHES`` that holds ``count`` frames, 1 to 16."""
    return next(size for size in CUDA_BATCHES if size >= count)


class _Lane:
    """One call at a time, from host memory through the network and back.

    Rows past a call's frames hold those of earlier calls. They are computed, as rows are
    computed independently, and never copied back.
    """

    def __init__(
        self,
        device: Device,
        model: SegmentationNetwork,
        frame_shape: Shape,
        channels: int,
        *,
        captured: bool,
    ) -> None:
        """Buffers for frames ``frame_shape`` (H, W, 3) and probabilities [channels, H, W].

        Raises:
            RuntimeError: the device has no memory, or, ``captured``, cannot capture.
        """
        frames = (MAX_BATCH, *frame_shape)
        probabilities = (MAX_BATCH, channels, *frame_shape[:2])
        self._stream = device.open_stream()
        self._departing = device.pinned(frames, torch.uint8)
        self._frames = device.resident(frames, torch.uint8)
        self._probabilities = device.resident(probabilities, torch.float32)
        self._arriving = device.pinned(probabilities, torch.float32)
        self._model = model  # a graph knows where the weights lie and does not keep them there
        self._passes = {
            size: partial(_compute, model, self._frames[:size], self._probabilities[:size])
            for size in CUDA_BATCHES
        }
        self._launches: dict[int, Work] = dict(self._passes)
        if captured:
            with torch.inference_mode():
                # Largest first: the smaller ones find room in what it took.
                for size in reversed(CUDA_BATCHES):
                    self._launches[size] = self._stream.capture(self._passes[size])

    def infer(self, frames: Frames, out: Probabilities) -> None:
        """uint8 ``[B, H, W, 3]`` to float32 ``[B, C, H, W]`` in ``out``, B from 1 to 16.

        Raises:
            RuntimeError: the device failed.
        """
        count = len(frames)
        np.copyto(self._departing.numpy()[:count], frames)
        with torch.inference_mode():
            self._stream.run(partial(self._round_trip, count))
        np.copyto(out, self._arriving.numpy()[:count])

    def _round_trip(self, count: int) -> None:
        self._frames[:count].copy_(self._departing[:count], non_blocking=True)
        self._launches[rounded_batch(count)]()
        self._arriving[:count].copy_(self._probabilities[:count], non_blocking=True)


def _compute(model: SegmentationNetwork, frames: Tensor, probabilities: Tensor) -> None:
    """The last copy makes channels_last results contiguous while they are on the device."""
    probabilities.copy_(model(frames))


class CudaRuntime(Runtime):
    """The mode's network on a CUDA device."""

    name = "torch"
    device = "cuda"
    dtype = "float16"
    max_batch = MAX_BATCH
    concurrency = 2

    def __init__(self, spec: ModeSpec, gpu: Device) -> None:
        super().__init__(spec)
        self._gpu = gpu
        model = segmentation.load(spec)
        gpu.place(model)
        self._lanes = Lanes(self._open_lanes(model, spec.name))
        # Lanes take turns, so each size twice running warms it up in both.
        self._warm_up(tuple(sorted(CUDA_BATCHES * self.concurrency)))

    def _open_lanes(self, model: SegmentationNetwork, mode: str) -> list[_Lane]:
        """All with graphs, or, where a graph cannot be had, all without."""
        lane = partial(_Lane, self._gpu, model, self._frame_shape, self._channels)
        try:
            return [lane(captured=True) for _ in range(self.concurrency)]
        except RuntimeError as error:
            log.warning(
                "mode %s runs without CUDA graphs, slower in small batches: %s", mode, error
            )
        return [lane(captured=False) for _ in range(self.concurrency)]

    def _infer(self, frames: Frames, out: Probabilities) -> None:
        with self._lanes.taken() as lane:
            lane.infer(frames, out)
