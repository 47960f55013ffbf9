"""A CUDA device: where tensors lie, in what order work is done, what is captured.

Status: NO LINE OF THIS FILE HAS YET RUN ON A GPU. It was written from PyTorch's
documentation and source (torch/cuda/graphs.py, ATen/cuda/CUDAGraph.cpp) and keeps to what
only a device can do. On the CPU its tests see the order of its calls, with
``torch.cuda`` replaced; what the calls do, only the tests marked ``cuda`` can tell.

While one thread captures a graph, other threads serve other modes. So a capture is
``thread_local``: it forbids unsafe calls to its own thread only. Whatever waits for the
whole device would break it all the same, and PyTorch allows one capture at a time in a
process, so placing and capturing take turns. Streams are lent from PyTorch's
32: a capture has its stream to itself while a process opens fewer lanes than that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from models.networks.segmentation import SegmentationNetwork

Work = Callable[[], None]
Shape = tuple[int, ...]

PASSES_BEFORE_CAPTURE = 3  # libraries set up and choose kernels in the first; PyTorch advises 3

# Held for what waits for the whole device, and while a graph is captured.
_turn = threading.Lock()

# A capture that fails is not ended in PyTorch's allocator, which goes on asking the graph
# which streams are its own (CUDAGraph::capture_end). So such a graph is never freed.
_failed: list[torch.cuda.CUDAGraph] = []


class CudaStream:
    """Work in order on the device, one thread at a time, with a graph pool of its own.

    Graphs of one pool write over each other's intermediate values. Here they run one after
    another and keep nothing in the pool between runs, so their order does not matter.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # ``blocking`` makes the waiting thread sleep; otherwise it would spin on a core.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, work: Work) -> Work:
        """``work`` as one launch on the tensors that it uses now; they must outlive it.

        Raises:
            RuntimeError: ``work`` does what a graph cannot hold, or memory is short. The
                stream is not to be used again.
        """
        graph = torch.cuda.CUDAGraph()
        # torch.cuda.graph leaves its stream current when it fails; the outer ``with`` does not.
        with _turn, torch.cuda.stream(self._stream):
            for _ in range(PASSES_BEFORE_CAPTURE):
                work()
            try:
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ):
                    work()
            except RuntimeError:
                _failed.append(graph)
                raise
        return graph.replay

    def run(self, work: Work) -> None:
        """Queue ``work`` and return when the device has done it, also where ``work`` raises.

        So no buffer of the caller is in use by the device afterwards.

        Raises:
            RuntimeError: the device failed.
        """
        with torch.cuda.stream(self._stream):
            try:
                work()
            finally:
                self._done.record(self._stream)
                self._done.synchronize()


class CudaDevice:
    """The current CUDA device of the process."""

    def place(self, model: SegmentationNetwork) -> None:
        """Move ``model`` here, in float16 and channels_last; its weights are in place after."""
        with _turn:
            model.half().cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            torch.cuda.synchronize()  # other streams do not wait for the one that copied

    def pinned(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Host memory that the device copies without the CPU, not initialised."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def resident(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Device memory, not initialised."""
        return torch.empty(shape, dtype=dtype, device="cuda")

    def open_stream(self) -> CudaStream:
        """A stream beside all others."""
        return CudaStream()
