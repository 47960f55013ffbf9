"""Encoded frames in, encoded results out: decode, predict, render, encode.

Rules:

1. Order in is order out, and every frame has one outcome: a bad frame is its own
   ``FrameFailure`` and the rest of the batch goes on (``models.batch``).
2. No barrier between batches: their tasks share the workers, and a slow batch holds up
   no other. Where the runtime takes one frame a call, a frame is a single task and there
   is no barrier inside a batch either. Otherwise frames are decoded in parallel,
   predicted in one call, and rendered and encoded in parallel.
3. A cancelled batch skips every step not yet begun; what runs is bounded by the work that its
   container foretold (``models.pictures.cost``).

The workers are the parallelism: OpenCV's own threads are switched off for the whole
process, because two pools on the same cores only take turns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import cv2
import numpy as np

from models.batch import Batch
from models.catalog import ModeSpec
from models.pictures.headers import read_header
from models.pictures.images import Pixels, Size, decode, stretched
from models.pictures.label_map import (
    Probabilities,
    class_count,
    encode_label_map,
    label_map,
    shares,
    thumbnail,
)
from models.pictures.limits import Header, ImageLimits
from models.pictures.payload import encoded, foresee
from models.pictures.render import Scene, panel_size, render
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest, FrameResult

StagesMs = dict[str, float]


class Predictor(Protocol):
    """What the pipeline needs of ``models.runtimes.base.Runtime``."""

    max_batch: int

    def predict(self, frames: Pixels, /) -> Probabilities:
        """uint8 [B,H,W,3] RGB to float32 probabilities [B,C,H,W]; from any thread."""


def workers_for(threads: int) -> int:
    """Workers for a pipeline on ``threads`` cores: two for each.

    While some frames are in the network and some wait right before it, the others are decoded
    and encoded.
    """
    return 2 * threads


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame on its way to the network and, behind it, to the renderer.

    Attributes:
        network_input: uint8 [h,w,3] RGB at the network's size.
        canvas: uint8 [H,W,3] RGB at ``panel``; the network's input where nothing is drawn on it.
        size: of the frame as it was sent.
        panel: of the picture to draw, or of each of two side by side.
    """

    view: View
    network_input: Pixels
    canvas: Pixels
    size: Size
    panel: Size
    stages_ms: StagesMs


@dataclass(frozen=True, slots=True)
class Segmented:
    """A decoded frame with its probabilities, float32 [C,h,w]."""

    decoded: Decoded
    planes: Probabilities


class Pipeline:
    """One mode from encoded frames to encoded results, on worker threads.

    ``workers`` is a number of threads of its own, or an executor that several pipelines
    share; a shared one must outlive them.
    """

    def __init__(
        self,
        spec: ModeSpec,
        runtime: Predictor,
        limits: ImageLimits,
        workers: ThreadPoolExecutor | int,
    ) -> None:
        _quiet_opencv()
        self._spec = spec
        self._runtime = runtime
        self._limits = limits
        self._workers = (
            ThreadPoolExecutor(workers, "frames") if isinstance(workers, int) else workers
        )

    def submit(self, frames: Sequence[FrameRequest]) -> Future[list[FrameOutcome]]:
        """Begin a batch; the future holds one outcome per frame, in the same order."""
        batch = Batch(self._workers)
        if self._runtime.max_batch == 1:
            batch.fan_out(frames, partial(self._whole, batch), batch.deliver)
        else:
            batch.fan_out(frames, self.decode, lambda decoded: self._predict_all(batch, decoded))
        return batch.future

    def run(self, frames: Sequence[FrameRequest]) -> list[FrameOutcome]:
        """``submit`` and wait."""
        return self.submit(frames).result()

    def _whole(self, batch: Batch, request: FrameRequest) -> FrameResult | FrameFailure:
        """All steps in one task; ``attempt`` looks between them whether anybody still waits."""
        decoded = self.decode(request)
        predicted = batch.attempt(self.predict, [decoded])
        if isinstance(predicted, FrameFailure):
            return predicted
        return batch.attempt(self.finish, predicted[0])

    def _predict_all(self, batch: Batch, decoded: list[Decoded | FrameFailure]) -> None:
        """Predict every decoded frame in one call, then fan out to render and encode."""
        whole = [frame for frame in decoded if isinstance(frame, Decoded)]
        predicted = batch.attempt(self.predict, whole)
        if isinstance(predicted, FrameFailure):
            failed = predicted
            batch.deliver([f if isinstance(f, FrameFailure) else failed for f in decoded])
            return
        rows = iter(predicted)
        merged = [f if isinstance(f, FrameFailure) else next(rows) for f in decoded]
        batch.fan_out(merged, self.finish, batch.deliver)

    def decode(self, request: FrameRequest) -> Decoded:
        """The first step, in the calling thread; raises FrameRejected, ResultTooLarge."""
        view, begun = request.view, time.perf_counter()
        header = read_header(request.image, self._limits, single=request.single)
        limits = self._limits
        foresee(
            view,
            panel_size(view, (header.height, header.width)),
            limits.max_result_bytes,
            limits.single_draw_ms if request.single else limits.frame_draw_ms,
        )
        frame = decode(request.image, header, self._at_least(view, header))
        panel = panel_size(view, frame.size)
        network_input = stretched(frame.pixels, self._spec.input_size)
        drawn_on = view.output == "overlay"
        canvas = stretched(frame.pixels, panel) if drawn_on else network_input
        stages_ms = {"decode": _ms_since(begun)}
        return Decoded(view, network_input, canvas, frame.size, panel, stages_ms)

    def _at_least(self, view: View, header: Header) -> Size:
        """The size that the network and, for an overlay, the picture need of a frame.

        A light network is content with a little less than its input: 640 x 480 is decoded at
        half its size for 256 x 256, which saves 0.3 ms of 6, and its masks differ from those of
        the whole decode as much as those of two ways to shrink it (IoU 0.987 and 0.989).
        """
        height, width = self._spec.input_size
        if view.output != "overlay":
            return (height, width) if self._spec.is_heavy else (_nearly(height), _nearly(width))
        panel_height, panel_width = panel_size(view, (header.height, header.width))
        return max(height, panel_height), max(width, panel_width)

    def predict(self, decoded: Sequence[Decoded]) -> list[Segmented]:
        """The second step, one call of the network for all."""
        if not decoded:
            return []
        begun = time.perf_counter()
        planes = self._runtime.predict(_stacked([d.network_input for d in decoded]))
        elapsed_ms = _ms_since(begun)
        for frame in decoded:
            frame.stages_ms["inference"] = elapsed_ms
        return [Segmented(d, p) for d, p in zip(decoded, planes, strict=True)]

    def finish(self, segmented: Segmented) -> FrameResult:
        """The last steps: render, encode."""
        decoded, stages_ms = segmented.decoded, segmented.decoded.stages_ms
        view, planes, begun = decoded.view, segmented.planes, time.perf_counter()
        labels = label_map(planes)
        scene = Scene(decoded.canvas, decoded.panel, planes, self._spec.palette, view)
        picture = render(scene)
        stages_ms["render"] = _ms_since(begun)
        begun = time.perf_counter()
        payload = encoded(picture, scene, self._limits.max_result_bytes)
        small = encode_label_map(thumbnail(labels, decoded.size))
        stages_ms["encode"] = _ms_since(begun)
        return FrameResult(
            payload=payload.data,
            media_type=payload.media_type,
            width=payload.width,
            height=payload.height,
            classes=shares(labels, class_count(planes)),
            thumbnail=small,
            stages_ms=stages_ms,
        )


def _nearly(side: int) -> int:
    return side * 15 // 16


def _stacked(frames: Sequence[Pixels]) -> Pixels:
    """uint8 [B,h,w,3]; a single frame is not copied."""
    return frames[0][np.newaxis] if len(frames) == 1 else np.stack(frames)


def _ms_since(begun: float) -> float:
    """To the microsecond: further digits are noise, and travel with every result."""
    return round((time.perf_counter() - begun) * 1e3, 3)


def _quiet_opencv() -> None:
    """Process-wide: no threads of OpenCV's own, no log lines about pictures of strangers."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
