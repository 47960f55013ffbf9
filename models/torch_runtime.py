"""PyTorch as a runtime: float16 on a CUDA device, float32 on the CPU.

Status: the CPU path is tested. THE CUDA PATH HAS NOT YET RUN ON A GPU; it was
written from PyTorch's documentation, and only its batch rounding is tested.

On CUDA, frames cross the bus as uint8 from pinned memory, are permuted to
channels_last by a view (they arrive with their channels last), and come back as
probabilities into pinned memory. Each calling thread has a stream, so that the
copies of one call run beside the kernels of another. Batches are rounded up to a
power of two: few shapes to warm up, and none that a client sees for the first time.

float16, not bfloat16: the latter moves probabilities by up to 0.3.
"""

from __future__ import annotations

import threading

import numpy as np
import torch

from models import network
from models.catalog import ModeSpec
from models.runtime import DeviceName, Frames, Probabilities, Runtime

CUDA_BATCHES = (1, 2, 4, 8, 16)


def rounded_batch(count: int) -> int:
    """The smallest batch of ``CUDA_BATCHES`` that holds ``count`` frames, 1 to 16."""
    return next(size for size in CUDA_BATCHES if size >= count)


class TorchRuntime(Runtime):
    """The mode's network, run by PyTorch itself.

    On the CPU one call uses every thread, and ``threads`` is set for the whole
    process, which is how PyTorch has it.
    """

    name = "torch"

    def __init__(self, spec: ModeSpec, device: DeviceName, threads: int | None = None) -> None:
        super().__init__(spec)
        self.device = device
        model = network.load(spec)
        if device == "cuda":
            self.dtype, self.max_batch, self.concurrency = "float16", CUDA_BATCHES[-1], 2
            model.half().cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            torch.cuda.synchronize()  # weights are in place before another stream reads them
        else:
            self.dtype, self.max_batch, self.concurrency = "float32", 1, 1
            if threads is not None:
                torch.set_num_threads(threads)
        self._network: network.SegmentationNetwork | None = model
        self._streams = threading.local()
        self._warm_up(CUDA_BATCHES if device == "cuda" else (1,))

    def _infer(self, frames: Frames, out: Probabilities) -> None:
        model = self._network
        assert model is not None, "predict refuses a closed runtime"
        with torch.inference_mode():
            if self.device == "cuda":
                self._infer_on_cuda(model, frames, out)
            else:
                np.copyto(out, model(torch.tensor(frames)).numpy())

    def _infer_on_cuda(
        self, model: network.SegmentationNetwork, frames: Frames, out: Probabilities
    ) -> None:
        """Not yet run on a GPU. Pinned buffers live until the stream has been waited for."""
        count = len(frames)
        with torch.cuda.stream(self._stream()):
            shape = (rounded_batch(count), *frames.shape[1:])
            departing = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            departing.numpy()[:count] = frames  # rows past count hold anything; none is read back
            probabilities = model(departing.to("cuda", non_blocking=True))[:count]
            arriving = torch.empty(probabilities.shape, dtype=torch.float32, pin_memory=True)
            arriving.copy_(probabilities, non_blocking=True)
            self._stream().synchronize()
        np.copyto(out, arriving.numpy())

    def _stream(self) -> torch.cuda.Stream:
        """The calling thread's own stream."""
        if not hasattr(self._streams, "own"):
            self._streams.own = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream: torch.cuda.Stream = self._streams.own
        return stream

    def close(self) -> None:
        super().close()
        self._network = None
