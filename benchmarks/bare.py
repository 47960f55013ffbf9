"""What the machine can do without a server: the network alone, and the pipeline in process.

``model`` calls the runtime from as many threads as it profits from, on one prepared frame: the
ceiling. ``pipeline`` submits batches of encoded frames, two at a time so that the stages overlap,
and gets encoded masks: what is left of the ceiling when pictures come and go as bytes. ``single``
is one frame at a time, the least that a client could wait, and where its time goes.

    python -m benchmarks.bare --frames FILE

A process of its own that measures what it is told to, a line of stdin at a time
(``pipeline 1.5``), and answers with a line of JSON; in between it waits and costs nothing. So
the yardstick can be laid on right before and right after a server was measured: the speed of a
shared machine may change by half within a minute.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from threading import Thread
from typing import Any

import numpy as np

from benchmarks import frames
from deployments.cores import cores
from models.catalog import MODES
from models.pictures.headers import read_header
from models.pictures.images import decode, stretched
from models.pictures.limits import ImageLimits
from models.pipeline import Pipeline, workers_for
from models.runtimes.base import Runtime
from models.runtimes.choice import open_runtime
from models.view import View
from models.work import FrameRequest, FrameResult

MODE = "person"
LIMITS = ImageLimits(max_pixels=4096 * 4096, max_bytes=4 << 20)
BATCH, BATCHES = 16, 2

Rate = dict[str, float]


def rate(threads: int, frames_each: int, seconds: float, call: Callable[[], object]) -> Rate:
    """Frames per second of ``call``, repeated by that many threads at once."""
    call()
    done = [0] * threads
    begin = time.perf_counter()
    end = begin + seconds

    def work(thread: int) -> None:
        while not done[thread] or time.perf_counter() < end:  # however late it begins
            call()
            done[thread] += frames_each

    cpu_s = time.process_time()
    workers = [Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spent_s = time.process_time() - cpu_s
    total = sum(done)
    return {"fps": total / (time.perf_counter() - begin), "cpu_ms": 1000 * spent_s / total}


def model(runtime: Runtime, pictures: Sequence[bytes], seconds: float) -> Rate:
    """The network alone, one frame a call where its runtime takes one."""
    picture = decode(pictures[0], read_header(pictures[0], LIMITS), (frames.HEIGHT, frames.WIDTH))
    one = stretched(picture.pixels, MODES[MODE].input_size)
    batch = np.stack([one] * min(runtime.max_batch, BATCH))
    return rate(runtime.concurrency, len(batch), seconds, lambda: runtime.predict(batch))


def pipeline(line: Pipeline, pictures: Sequence[bytes], seconds: float) -> Rate:
    """Encoded frames in, bilevel masks out, ``BATCHES`` batches at a time."""
    batch = _requests(pictures)[:BATCH]
    return rate(BATCHES, BATCH, seconds, lambda: line.run(batch))


def single(line: Pipeline, pictures: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """One frame at a time: milliseconds, and those of its stages."""
    requests = _requests(pictures)
    took: list[float] = []
    stages: dict[str, list[float]] = {}
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        (outcome,) = line.run([requests[len(took) % len(requests)]])
        took.append(1000 * (time.perf_counter() - begin))
        assert isinstance(outcome, FrameResult), outcome
        for stage, ms in outcome.stages_ms.items():
            stages.setdefault(stage, []).append(ms)
    return {
        "p50_ms": median(took),
        "fps": 1000 / mean(took),
        "stages_ms": {stage: median(ms) for stage, ms in stages.items()},
    }


def _requests(pictures: Sequence[bytes]) -> list[FrameRequest]:
    view = View(output="mask")
    return [FrameRequest(picture, view) for picture in pictures]


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.bare", description=__doc__)
    parser.add_argument("--frames", type=Path, required=True)
    pictures = frames.read(parser.parse_args(argv).frames)
    runtime = open_runtime(MODES[MODE])
    line = Pipeline(MODES[MODE], runtime, LIMITS, workers_for(cores()))
    parts: dict[str, Callable[[float], dict[str, Any]]] = {
        "model": lambda seconds: model(runtime, pictures, seconds),
        "pipeline": lambda seconds: pipeline(line, pictures, seconds),
        "single": lambda seconds: single(line, pictures, seconds),
    }
    for order in sys.stdin:
        part, seconds = order.split()
        print(json.dumps(parts[part](float(seconds))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
