"""Frames through the pipeline: with a runtime that sees red, and with the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Barrier, Event, Lock
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.catalog import MODES
from models.pictures.images import Pixels
from models.pictures.label_map import Probabilities, decode_label_map
from models.pictures.limits import ImageLimits, ResultTooLarge
from models.pictures.payload import foresee
from models.pipeline import Pipeline
from models.runtimes.choice import open_runtime
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest, FrameResult

HERE = Path(__file__).parent
PORTRAIT = (HERE.parent / "data" / "astronaut.png").read_bytes()
LIMITS = ImageLimits(max_pixels=1_000_000, max_bytes=1_000_000)
SPEC = replace(MODES["person"], input_size=(32, 32))
MASK = View(output="mask")


class SeesRed:
    """A runtime for which red is a person: probability = red / 255."""

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self.batch_sizes: list[int] = []
        self.before: Callable[[Pixels], object] = lambda _: None
        self._lock = Lock()

    def predict(self, frames: Pixels, /) -> Probabilities:
        with self._lock:
            self.batch_sizes.append(len(frames))
        self.before(frames)
        red: Probabilities = frames[:, np.newaxis, :, :, 0].astype(np.float32) / np.float32(255)
        return red


class SeesColours(SeesRed):
    """A runtime of three classes: red, green and blue."""

    def predict(self, frames: Pixels, /) -> Probabilities:
        weights = frames.astype(np.float32) + 1e-3
        shares: Probabilities = weights / weights.sum(axis=-1, keepdims=True)
        return shares.transpose(0, 3, 1, 2)


@pytest.fixture(params=[1, 16], ids=["frame by frame", "batched"])
def runtime(request: pytest.FixtureRequest) -> SeesRed:
    return SeesRed(request.param)


@pytest.fixture(params=[1, 3], ids=["one worker", "three workers"])
def pipeline(request: pytest.FixtureRequest, runtime: SeesRed) -> Iterator[Pipeline]:
    with ThreadPoolExecutor(request.param) as workers:
        yield Pipeline(SPEC, runtime, LIMITS, workers)


def picture(red_columns: int, width: int = 64, height: int = 48, **exif: Any) -> bytes:
    """A PNG, black but for ``red_columns`` on the left."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :red_columns, 0] = 255
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **exif)
    return out.getvalue()


def request(red_columns: int, view: View = MASK) -> FrameRequest:
    return FrameRequest(picture(red_columns), view)


def good(outcome: FrameOutcome) -> FrameResult:
    assert isinstance(outcome, FrameResult), outcome
    return outcome


def only(outcomes: list[FrameOutcome]) -> FrameResult:
    (outcome,) = outcomes
    return good(outcome)


def share(outcome: FrameOutcome, class_id: int = 1) -> float:
    return dict(good(outcome).classes).get(class_id, 0.0)


def pixels_of(result: FrameResult) -> Pixels:
    return np.asarray(Image.open(BytesIO(result.payload)))


def test_results_keep_the_order_of_the_frames(pipeline: Pipeline) -> None:
    outcomes = pipeline.run([request(columns) for columns in (0, 16, 32, 48, 64)])
    assert [share(o) for o in outcomes] == [0, 0.25, 0.5, 0.75, 1]


def test_no_frames_give_no_results(pipeline: Pipeline) -> None:
    assert pipeline.run([]) == []


def test_a_bad_frame_fails_alone(pipeline: Pipeline) -> None:
    truncated = FrameRequest(picture(64)[:-20], MASK)
    outcomes = pipeline.run([request(16), truncated, request(32)])
    assert isinstance(outcomes[1], FrameFailure)
    assert outcomes[1].code == "FRAME_REJECTED"
    assert "cut short" in outcomes[1].message
    assert [share(outcomes[0]), share(outcomes[2])] == [0.25, 0.5]


def test_a_batch_of_bad_frames_never_reaches_the_runtime(
    pipeline: Pipeline, runtime: SeesRed
) -> None:
    outcomes = pipeline.run([FrameRequest(b"junk", MASK)] * 3)
    assert [getattr(o, "code", None) for o in outcomes] == ["FRAME_REJECTED"] * 3
    assert runtime.batch_sizes == []


def test_the_limits_are_those_of_the_pipeline(pipeline: Pipeline) -> None:
    (outcome,) = pipeline.run([FrameRequest(picture(1, 2000, 1000), MASK)])
    assert isinstance(outcome, FrameFailure)
    assert "at most 1,000,000" in outcome.message


def test_a_runtime_that_batches_gets_one_call_per_batch() -> None:
    runtime = SeesRed(max_batch=16)
    pipeline = Pipeline(SPEC, runtime, LIMITS, 2)
    pipeline.run([request(0), FrameRequest(b"", MASK), request(64)])
    assert runtime.batch_sizes == [2]


def test_a_failing_call_fails_its_frames_and_the_next_batch_goes_on(
    pipeline: Pipeline, runtime: SeesRed, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_device(_: Pixels) -> None:
        raise RuntimeError("secret device name")

    runtime.before = lose_device
    (failure,) = pipeline.run([request(16)])
    runtime.before = lambda _: None
    assert isinstance(failure, FrameFailure)
    assert failure.code == "INFERENCE_FAILED"
    assert "secret" not in failure.message
    assert "secret device name" in caplog.text
    assert share(pipeline.run([request(16)])[0]) == 0.25


def test_a_rejected_frame_stays_rejected_when_the_call_fails(
    pipeline: Pipeline, runtime: SeesRed
) -> None:
    def lose_device(_: Pixels) -> None:
        raise RuntimeError

    runtime.before = lose_device
    outcomes = pipeline.run([FrameRequest(b"", MASK), request(16)])
    codes = [o.code for o in outcomes if isinstance(o, FrameFailure)]
    assert codes == ["FRAME_REJECTED", "INFERENCE_FAILED"]


def test_batches_overlap_on_one_worker(pipeline: Pipeline) -> None:
    futures = [pipeline.submit([request(16), request(columns)]) for columns in (0, 32, 64)]
    assert [share(f.result(30)[1]) for f in futures] == [0, 0.5, 1]


def test_two_batches_are_in_the_runtime_at_once(runtime: SeesRed) -> None:
    both = Barrier(2, timeout=30)
    runtime.before = lambda _: both.wait()
    pipeline = Pipeline(SPEC, runtime, LIMITS, 2)
    futures = [pipeline.submit([request(16)]) for _ in range(2)]
    assert [share(f.result(30)[0]) for f in futures] == [0.25, 0.25]


def test_pipelines_share_the_workers_they_are_given(runtime: SeesRed) -> None:
    with ThreadPoolExecutor(2) as workers:
        first, second = (Pipeline(SPEC, runtime, LIMITS, workers) for _ in range(2))
        assert [share(p.run([request(32)])[0]) for p in (first, second)] == [0.5, 0.5]


def test_a_cancelled_batch_skips_the_frames_not_begun() -> None:
    runtime = SeesRed(max_batch=1)
    begun, go_on = Event(), Event()

    def hold(_: Pixels) -> None:
        begun.set()
        assert go_on.wait(30)

    runtime.before = hold
    with ThreadPoolExecutor(1) as worker:
        future = Pipeline(SPEC, runtime, LIMITS, worker).submit([request(16)] * 5)
        assert begun.wait(30)
        assert future.cancel()
        go_on.set()
    assert runtime.batch_sizes == [1]


def test_a_frame_that_nobody_waits_for_ends_with_the_step_it_is_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = SeesRed(max_batch=1)
    begun, go_on = Event(), Event()
    ended: list[object] = []

    def hold(_: Pixels) -> None:
        begun.set()
        assert go_on.wait(30)

    runtime.before = hold
    with ThreadPoolExecutor(1) as worker:
        pipeline = Pipeline(SPEC, runtime, LIMITS, worker)
        monkeypatch.setattr(pipeline, "finish", ended.append)
        future = pipeline.submit([request(16)])
        assert begun.wait(30)
        assert future.cancel()
        go_on.set()
    assert ended == []


NOISE = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
LOSSLESS = View(output="overlay", format="png")


@pytest.mark.parametrize(
    ("view", "max_result_bytes", "why"),
    [
        (LOSSLESS, 7_000, "a PNG of 10,000 pixels; at most 7,000"),
        (LOSSLESS, 20_000, "bytes; at most 20,000 bytes are sent: set max_side"),
        (View(output="overlay", quality=100), 7_000, "bytes; at most 7,000"),
        (View(output="overlay", format="webp"), 2_000, "bytes; at most 2,000"),
        (View(output="mask"), 60, "bytes; at most 60"),
    ],
)
def test_a_result_that_is_too_large_fails_alone(
    runtime: SeesRed, view: View, max_result_bytes: int, why: str
) -> None:
    out = BytesIO()
    Image.fromarray(NOISE).save(out, "PNG")
    limits = replace(LIMITS, max_result_bytes=max_result_bytes)
    large, small = FrameRequest(out.getvalue(), view), request(16, View(output="none"))
    with ThreadPoolExecutor(2) as workers:
        outcomes = Pipeline(SPEC, runtime, limits, workers).run([small, large, small])
    failed = outcomes[1]
    assert isinstance(failed, FrameFailure)
    assert failed.code == "RESULT_TOO_LARGE"
    assert why in failed.message
    assert [share(outcomes[0]), share(outcomes[2])] == [0.25, 0.25]


def test_what_is_certain_to_be_too_large_is_neither_decoded_nor_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("models.pipeline.decode", never)
    monkeypatch.setattr("models.pipeline.encoded", never)
    runtime, limits = SeesRed(1), replace(LIMITS, max_result_bytes=1000)
    with ThreadPoolExecutor(1) as worker:
        (outcome,) = Pipeline(SPEC, runtime, limits, worker).run([request(16, LOSSLESS)])
    assert isinstance(outcome, FrameFailure)
    assert outcome.code == "RESULT_TOO_LARGE"


@pytest.mark.parametrize(
    ("view", "pixels"),
    [
        (View(output="overlay"), 16_666_667),
        (View(output="overlay", format="png"), 4_000_000),
        (View(output="overlay", format="webp"), 2_500_000),
        (View(output="overlay", format="webp", visualization_mode="side-by-side"), 1_250_000),
    ],
)
def test_an_overlay_that_takes_too_long_to_draw_is_refused_before_it_is_decoded(
    view: View, pixels: int
) -> None:
    foresee(view, (1000, pixels // 1000), 1 << 40, 300.0)
    with pytest.raises(ResultTooLarge, match="ms to draw; at most 300 ms are spent: set max_side"):
        foresee(view, (1000, pixels // 1000 + 10), 1 << 40, 300.0)
    foresee(view, (1000, pixels // 1000 + 10), 1 << 40, 2000.0)
    foresee(View(output="mask"), (8000, 8000), 1, 0.1)


def test_a_picture_that_comes_alone_may_take_longer() -> None:
    limits = replace(LIMITS, frame_work_ms=0.01, single_work_ms=1000)
    frame = request(16)
    with ThreadPoolExecutor(1) as worker:
        outcomes = Pipeline(SPEC, SeesRed(1), limits, worker).run(
            [frame, replace(frame, single=True)]
        )
    assert isinstance(outcomes[0], FrameFailure)
    assert "ms to decode" in outcomes[0].message
    assert share(outcomes[1]) == 0.25


def test_every_stage_is_timed(pipeline: Pipeline) -> None:
    stages_ms = only(pipeline.run([request(16)])).stages_ms
    assert list(stages_ms) == ["decode", "inference", "render", "encode"]
    assert all(spent >= 0 for spent in stages_ms.values())


@pytest.mark.parametrize(
    ("settings", "media_type", "shape"),
    [
        ({"output": "mask"}, "image/png", (48, 64)),
        ({"output": "mask", "max_side": 32}, "image/png", (24, 32)),
        ({"output": "alpha"}, "image/png", (48, 64)),
        ({"output": "alpha", "format": "webp", "max_side": 32}, "image/webp", (24, 32, 3)),
        ({}, "image/jpeg", (48, 64, 3)),
        ({"max_side": 32}, "image/jpeg", (24, 32, 3)),
        ({"format": "webp"}, "image/webp", (48, 64, 3)),
        ({"format": "png", "visualization_mode": "cutout"}, "image/png", (48, 64, 4)),
        ({"visualization_mode": "side-by-side"}, "image/jpeg", (48, 128, 3)),
        ({"visualization_mode": "side-by-side", "max_side": 32}, "image/jpeg", (12, 32, 3)),
    ],
    ids=str,
)
def test_the_payload_is_what_the_view_asks_for(
    pipeline: Pipeline, settings: dict[str, Any], media_type: str, shape: tuple[int, ...]
) -> None:
    result = only(pipeline.run([request(16, View(**settings))]))
    assert result.media_type == media_type
    assert pixels_of(result).shape == shape
    assert (result.height, result.width) == shape[:2]


def test_output_none_has_no_payload_and_the_frames_size(pipeline: Pipeline) -> None:
    result = only(pipeline.run([request(16, View(output="none", max_side=16))]))
    assert (result.payload, result.media_type) == (b"", "")
    assert (result.width, result.height) == (64, 48)
    assert result.classes == ((0, 0.75), (1, 0.25))


def test_a_mask_lies_where_the_frame_is_red(pipeline: Pipeline) -> None:
    mask = pixels_of(only(pipeline.run([request(32)])))
    assert mask[:, :31].all()
    assert not mask[:, 33:].any()


def test_a_rotated_frame_comes_back_upright(pipeline: Pipeline) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = FrameRequest(picture(32, exif=exif.tobytes()), MASK)
    result = only(pipeline.run([frame]))
    assert (result.width, result.height) == (48, 64)
    assert pixels_of(result)[:31].all()
    assert not pixels_of(result)[33:].any()


def test_a_frame_of_one_pixel_has_a_mask_of_one_pixel(pipeline: Pipeline) -> None:
    result = only(pipeline.run([FrameRequest(picture(1, 1, 1), MASK)]))
    assert (result.width, result.height, result.classes) == (1, 1, ((1, 1.0),))


def test_the_thumbnail_is_the_label_map_of_the_frame(pipeline: Pipeline) -> None:
    frame = FrameRequest(picture(160, 640, 480), MASK)
    labels = decode_label_map(only(pipeline.run([frame])).thumbnail)
    assert labels.shape == (48, 64)
    assert labels[:, :16].all()
    assert not labels[:, 16:].any()


def three_classes(view: View) -> FrameResult:
    spec = MODES["parts"]
    three = replace(spec, input_size=(32, 32), labels=spec.labels[:3], palette=spec.palette[:3])
    pixels = np.zeros((48, 64, 3), np.uint8)
    for c in range(3):
        pixels[:, 16 * c : 16 * (c + 1), c] = 255
    pixels[:, 48:, 0] = 255
    data = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    pipeline = Pipeline(three, SeesColours(max_batch=1), LIMITS, 1)
    return only(pipeline.run([FrameRequest(data, view)]))


def test_shares_sum_to_one_and_ascend() -> None:
    assert three_classes(MASK).classes == ((0, 0.5), (1, 0.25), (2, 0.25))


def test_a_filter_changes_the_mask_and_not_the_statistics() -> None:
    result = three_classes(View(output="mask", class_filter=(2,)))
    assert set(pixels_of(result).ravel().tolist()) == {0, 2}
    assert result.classes == three_classes(MASK).classes
    assert result.thumbnail == three_classes(MASK).thumbnail


def union_share(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("kind", ["torch", "openvino"])
def test_the_mask_of_the_portrait_is_the_reference_networks(kind: Any) -> None:
    reference = np.load(HERE / "vectors" / "selfie_general.npz")["output"]
    expected = cv2.resize(reference, (512, 512)) > 0.5
    if kind == "openvino":
        pytest.importorskip("openvino")
    runtime = open_runtime(MODES["person"], device="cpu", runtime=kind, threads=1)
    pipeline = Pipeline(MODES["person"], runtime, LIMITS, 1)
    mask = pixels_of(only(pipeline.run([FrameRequest(PORTRAIT, MASK)])))
    assert union_share(mask.astype(bool), expected) >= 0.98


def test_a_reduced_decode_gives_the_mask_of_the_whole_one() -> None:
    out = BytesIO()
    Image.open(BytesIO(PORTRAIT)).resize((1000, 1000)).save(out, "JPEG")
    large = out.getvalue()
    runtime = open_runtime(MODES["person"], device="cpu", runtime="torch", threads=1)
    pipeline = Pipeline(MODES["person"], runtime, LIMITS, 1)
    cutout = View(output="overlay", visualization_mode="cutout", format="png")
    reduced, whole = map(good, pipeline.run([FrameRequest(large, v) for v in (MASK, cutout)]))
    assert (reduced.width, reduced.height) == (1000, 1000)
    assert union_share(pixels_of(reduced) > 0, pixels_of(whole)[..., 3] > 127) >= 0.98
