"""What the peers that answer with masks do to a frame: the same pipeline in each.

A comparison of servers tells something of the servers only where the work behind them is
the same. So none of these decodes, infers or encodes by itself: each calls this module, which
calls SegStream's own ``models.pipeline`` with the mode ``person``, the runtime that
``models.runtimes.choice`` makes on this machine, and the limits that SegStream sets by default.
What is left to differ is what is measured: transport, queue, batching and processes.

A pipeline takes frames from any thread and spreads a batch over its workers, so one call
with a batch keeps every core busy. ``Steps`` is the same work in three, for frameworks that
have a hook for each. Frames fail loudly here: a benchmark sends good pictures, and a reply
that is no mask must not be counted as one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from models.catalog import MODES
from models.pictures.images import Pixels
from models.pictures.label_map import Probabilities
from models.pictures.limits import ImageLimits
from models.pipeline import Decoded, Pipeline, Segmented, workers_for
from models.runtimes.choice import open_runtime
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest, FrameResult

CORES = len(os.sched_getaffinity(0))
WORKERS = workers_for(CORES)  # as SegStream has them
MAX_BATCH = 16  # frames in one batch, for the peers that batch
MAX_WAIT_MS = 2  # for a batch to fill: a frame takes about as long

_LIMITS = ImageLimits(max_pixels=4096 * 4096, max_bytes=4 * 1024 * 1024)
_MASK = View(output="mask")


class FrameFailed(RuntimeError):
    """The pipeline made no result of a frame."""


def open_pipeline(workers: ThreadPoolExecutor | int = WORKERS) -> Pipeline:
    """The mode ``person``, loaded and warm. Takes up to a few seconds."""
    spec = MODES["person"]
    # As many threads of inference as cores, whatever a framework did to OMP_NUM_THREADS.
    return Pipeline(spec, open_runtime(spec, threads=CORES), _LIMITS, workers)


def mask(pipeline: Pipeline, jpeg: bytes) -> bytes:
    """The bilevel PNG mask of one frame; blocks.

    Raises:
        FrameFailed: the frame has no result.
    """
    return masks(pipeline, [jpeg])[0]


def masks(pipeline: Pipeline, jpegs: Sequence[bytes]) -> list[bytes]:
    """The masks of a batch in the same order, on all workers; blocks. Raises as ``mask``."""
    return [result.payload for result in _wait(_begin(pipeline, jpegs, _MASK))]


async def mask_async(pipeline: Pipeline, jpeg: bytes) -> bytes:
    """As ``mask``, with the event loop free: one hop to a worker and one back."""
    (outcome,) = await asyncio.wrap_future(_begin(pipeline, [jpeg], _MASK))
    return _whole(outcome).payload


class Steps:
    """Decode, predict, encode, each when it is called, in the calling thread."""

    def __init__(self, threads: int) -> None:
        """``threads`` of inference; with 0 there is no network, and ``predict`` fails."""
        spec = MODES["person"]
        runtime = open_runtime(spec, threads=threads) if threads else NoNetwork()
        self._pipeline = Pipeline(spec, runtime, _LIMITS, 1)
        self._at_once = ThreadPoolExecutor(2 * max(1, threads), "frames")

    def decode(self, jpeg: bytes) -> Decoded:
        return self._pipeline.decode(FrameRequest(jpeg, _MASK))

    def predict(self, frames: Sequence[Decoded]) -> list[Segmented]:
        """A batch, spread over the threads: the network takes one frame a call on CPUs."""
        each = self._at_once.map(lambda frame: self._pipeline.predict([frame])[0], frames)
        return list(each)

    def encode(self, segmented: Segmented) -> bytes:
        return self._pipeline.finish(segmented).payload


class NoNetwork:
    """Where another process infers."""

    max_batch = 1

    def predict(self, frames: Pixels, /) -> Probabilities:
        raise FrameFailed("this process decodes or encodes; another has the network")


def port_argument() -> int:
    """``--port N`` of the command line: where a peer listens, on 127.0.0.1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    port: int = arguments.port
    return port


def _begin(pipeline: Pipeline, jpegs: Sequence[bytes], view: View) -> Future[list[FrameOutcome]]:
    return pipeline.submit([FrameRequest(jpeg, view) for jpeg in jpegs])


def _wait(batch: Future[list[FrameOutcome]]) -> list[FrameResult]:
    return [_whole(outcome) for outcome in batch.result()]


def _whole(outcome: FrameOutcome) -> FrameResult:
    if isinstance(outcome, FrameFailure):
        raise FrameFailed(f"{outcome.code}: {outcome.message}")
    return outcome
