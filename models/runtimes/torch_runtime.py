"""PyTorch on the CPU as a runtime: float32, for machines without OpenVINO.

On a CUDA device PyTorch runs in ``models.runtimes.cuda_runtime``.
"""

from __future__ import annotations

import numpy as np
import torch

from models.catalog import ModeSpec
from models.networks import segmentation
from models.runtimes.base import Frames, Probabilities, Runtime


class TorchRuntime(Runtime):
    """The mode's network, run by PyTorch itself.

    One call uses every thread, and ``threads`` is set for the whole process, which is
    how PyTorch has it.
    """

    name = "torch"
    device = "cpu"
    dtype = "float32"
    max_batch = 1
    concurrency = 1

    def __init__(self, spec: ModeSpec, threads: int | None = None) -> None:
        super().__init__(spec)
        if threads is not None:
            torch.set_num_threads(threads)
        self._network = segmentation.load(spec)
        self._warm_up((1,))

    def _infer(self, frames: Frames, out: Probabilities) -> None:
        with torch.inference_mode():
            np.copyto(out, self._network(torch.tensor(frames)).numpy())
