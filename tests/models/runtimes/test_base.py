from dataclasses import replace

import numpy as np
import pytest

from models.catalog import MODES
from models.runtimes.base import Frames, Probabilities, Runtime


class Recorder(Runtime):
    """Answers each frame with the value of its first pixel, two frames at a time."""

    name, device, dtype, max_batch, concurrency = "torch", "cpu", "float32", 2, 1

    def __init__(self, classes: int = 2) -> None:
        labels = tuple(map(str, range(classes)))
        super().__init__(replace(MODES["person"], input_size=(4, 6), labels=labels))
        self.batches: list[int] = []

    def _infer(self, frames: Frames, out: Probabilities) -> None:
        assert frames.flags.c_contiguous
        self.batches.append(len(frames))
        out[...] = frames[:, :1, :1, :1]


def numbered_frames(count: int) -> Frames:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((4, 6, 3), np.uint8)


@pytest.mark.parametrize(("count", "batches"), [(0, []), (1, [1]), (2, [2]), (5, [2, 2, 1])])
def test_any_number_of_frames_is_split_and_joined_in_order(count: int, batches: list[int]) -> None:
    runtime = Recorder()
    probabilities = runtime.predict(numbered_frames(count))
    assert runtime.batches == batches
    assert probabilities.shape == (count, 1, 4, 6)
    assert probabilities.dtype == np.float32
    assert probabilities[:, 0, 0, 0].tolist() == list(range(count))


def test_more_than_two_classes_have_a_channel_each() -> None:
    assert Recorder(classes=6).predict(numbered_frames(1)).shape == (1, 6, 4, 6)


def test_frames_cut_from_a_larger_picture_are_taken() -> None:
    wide = np.zeros((3, 4, 12, 3), np.uint8)
    assert Recorder().predict(wide[:, :, ::2]).shape == (3, 1, 4, 6)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 6, 3), np.uint8),
        np.zeros((1, 6, 4, 3), np.uint8),
        np.zeros((1, 4, 6, 3), np.float32),
    ],
)
def test_frames_of_another_kind_are_refused(frames: Frames) -> None:
    with pytest.raises(ValueError, match=r"this mode takes uint8 \[B, 4, 6, 3\]"):
        Recorder().predict(frames)
