"""OpenVINO as a runtime: the same torch module, compiled for this CPU in memory.

Measured on 2 cores (frames per second, and ms for one frame):

    ===========  ==============================  ==============================
    mode         2 streams of 1 thread           1 stream of 2 threads
    ===========  ==============================  ==============================
    person       520/s, 3.7 ms                   430/s, 2.2 ms
    parts        17/s, 115 ms                    17/s, 58 ms
    salient      3.8/s, 495 ms                   3.4/s, 292 ms
    ===========  ==============================  ==============================

So a light network gives each thread a frame of its own, and a heavy one puts
several threads to one frame, which halves the wait at the same throughput.
A batch of four was never faster than four frames, and a dynamic batch was up to
a third slower than a static one: the batch is 1, fixed.

A light network's stream that has ended a frame finds the next one waiting, because
each has two requests: with one, it stands still until a thread of ours has woken,
taken the result and sent another frame, which cost `person` 8 to 14 % of its rate.

OpenVINO reports its use to its makers, at import and at every conversion, from a
process of its own. It does so through the package ``openvino_telemetry`` and, where
that is missing, through an empty stub. ``import_openvino`` makes it missing, and
is therefore the only way in this project to import OpenVINO.
"""

from __future__ import annotations

import sys
import threading
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.catalog import ModeSpec
from models.networks import segmentation
from models.runtimes.base import Frames, Probabilities, Runtime
from models.runtimes.lanes import Lanes

if TYPE_CHECKING:
    from types import ModuleType

    import openvino

THREADS_PER_HEAVY_FRAME = 4  # small feature maps leave more threads than this idle
REQUESTS_PER_LIGHT_STREAM = 2  # one in the network, one ready

# Tracing patches functions of torch while it runs, and so does OpenVINO's converter.
_converting = threading.Lock()


def import_openvino() -> ModuleType:
    """The openvino module, with its usage reports replaced by its own stub."""
    # None in sys.modules makes an import fail as if the package were not installed.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return import_module("openvino")


def streams(spec: ModeSpec, threads: int) -> int:
    """How many frames to run at once on ``threads`` threads; at least 1."""
    per_frame = THREADS_PER_HEAVY_FRAME if spec.is_heavy else 1
    return max(1, threads // per_frame)


def convert(spec: ModeSpec) -> openvino.Model:
    """The mode's network as an OpenVINO graph for one uint8 frame ``[1, H, W, 3]``.

    Traced here, without PyTorch's own check of the trace (half of the converter's
    time): the tests compare the graph with reference outputs instead.
    """
    converter = import_openvino().convert_model
    shape = [1, *spec.input_size, 3]
    frame = torch.zeros(shape, dtype=torch.uint8)
    with _converting, warnings.catch_warnings(), torch.inference_mode():
        # Tracing is deprecated, and torch.export takes three to six times as long.
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            segmentation.load(spec), frame, check_trace=False
        )
        model: openvino.Model = converter(traced, example_input=frame, input=shape)
    return model


class _Lane:
    """An infer request with the memory that it reads and writes.

    Its tensors are seen once: looked up and wrapped anew for each frame, as ``request.infer`` does,
    they cost Python more than the copies.
    """

    def __init__(self, request: openvino.InferRequest) -> None:
        self._request = request
        self._frames: Frames = request.get_input_tensor(0).data
        self._probabilities: Probabilities = request.get_output_tensor(0).data

    def infer(self, frames: Frames, out: Probabilities) -> None:
        np.copyto(self._frames, frames)
        self._request.start_async()
        self._request.wait()
        np.copyto(out, self._probabilities)


class OpenVinoRuntime(Runtime):
    """The mode's network compiled by OpenVINO, with a few infer requests that callers share."""

    name = "openvino"
    device = "cpu"
    dtype = "float32"
    max_batch = 1

    def __init__(self, spec: ModeSpec, threads: int | None = None) -> None:
        super().__init__(spec)
        threads = threads or torch.get_num_threads()
        at_once = streams(spec, threads)
        self.concurrency = at_once * (1 if spec.is_heavy else REQUESTS_PER_LIGHT_STREAM)
        compiled = (
            import_openvino()
            .Core()
            .compile_model(
                convert(spec),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "f32",  # some CPUs default to bfloat16
                    "NUM_STREAMS": at_once,
                    "INFERENCE_NUM_THREADS": threads,
                    "ENABLE_CPU_PINNING": False,  # replicas would pin themselves to the same cores
                },
            )
        )
        self._lanes = Lanes(_Lane(compiled.create_infer_request()) for _ in range(self.concurrency))
        self._warm_up((1,) * self.concurrency)

    def _infer(self, frames: Frames, out: Probabilities) -> None:
        with self._lanes.taken() as lane:
            lane.infer(frames, out)
