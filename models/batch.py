"""One batch of frames on worker threads, from its first task to its one delivery.

Rules:

1. No task waits for another task, so no number of workers can deadlock. A batch counts
   its frames down; whoever brings the count to zero starts the next step.
2. Every position ends with an outcome. Whatever a step raises becomes a ``FrameFailure``
   at that position: an exception lost in a worker would leave the batch waiting for ever.
3. A frame that has failed passes through the steps behind it untouched.
4. Once the future is cancelled no step begins; those running end, unread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import TypeVar

from models.pictures.limits import FrameRejected, ResultTooLarge
from models.work import FrameFailure, FrameOutcome

logger = logging.getLogger(__name__)

Given = TypeVar("Given")
Made = TypeVar("Made")

# What the peer of a frame reads when the fault is ours; the log has the rest.
_FAILED = FrameFailure(
    "INFERENCE_FAILED", "the model failed on this frame: send the next one, or change the mode"
)
# Stands for a frame of a cancelled batch; nobody reads it.
_SKIPPED = FrameFailure("INFERENCE_FAILED", "the batch was cancelled")


class Batch:
    """Fans frames out to the workers and delivers their outcomes once."""

    def __init__(self, workers: ThreadPoolExecutor) -> None:
        self.future: Future[list[FrameOutcome]] = Future()
        self._workers = workers

    def fan_out(
        self,
        items: Sequence[Given | FrameFailure],
        step: Callable[[Given], Made],
        then: Callable[[list[Made | FrameFailure]], None],
    ) -> None:
        """``step`` on each item as a task of its own; the last to end calls ``then`` on all."""
        if not items:
            then([])
            return
        made: list[Made | FrameFailure] = [_SKIPPED] * len(items)
        due = len(items)
        lock = Lock()

        def task(position: int, item: Given | FrameFailure) -> None:
            nonlocal due
            made[position] = self.attempt(step, item)
            with lock:
                due -= 1
                last = not due
            if last:
                then(made)

        for position, item in enumerate(items):
            self._workers.submit(task, position, item)

    def attempt(
        self, step: Callable[[Given], Made], item: Given | FrameFailure
    ) -> Made | FrameFailure:
        """``step(item)``, or the failure that it is; a failure before it passes through."""
        if isinstance(item, FrameFailure):
            return item
        if self.future.cancelled():
            return _SKIPPED
        begun = time.perf_counter()
        try:
            return step(item)
        except FrameRejected as rejected:
            failure = FrameFailure("FRAME_REJECTED", str(rejected))
        except ResultTooLarge as too_large:
            failure = FrameFailure("RESULT_TOO_LARGE", str(too_large))
        except Exception:
            # The seam of rule 2: a device, a codec or a bug may raise anything.
            logger.exception("a frame failed")
            failure = _FAILED
        return replace(failure, took_ms=1e3 * (time.perf_counter() - begun))

    def deliver(self, outcomes: list[FrameOutcome]) -> None:
        """Resolve the future, unless it was cancelled."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(outcomes)
