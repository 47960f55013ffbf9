"""The image door: a file becomes the picture that was promised, or FrameRejected, and in time.

The function is the one that a segmenter calls on each frame's bytes. What a decoder writes itself
goes to the process's stderr, so that is where it is looked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from hypothesis import strategies as st

from models.catalog import MODES
from models.pictures.headers import read_header
from models.pictures.images import Frame, Pixels, decode
from models.pictures.label_map import Probabilities
from models.pictures.limits import FrameRejected, Header, ImageLimits, ResultTooLarge
from models.pictures.render import panel_size
from models.pipeline import Decoded, Pipeline
from models.view import View
from models.work import FrameRequest
from tests.fuzz.files import pictures, whole
from tests.fuzz.fuzzed import check_sentence, fuzzed, timed

LIMITS = ImageLimits(max_pixels=4096 * 4096, max_bytes=4 << 20)
WHOLE = (8191, 8191)
# What is foretold is of a core like the documents'; ours is shared, and drawing is not in it.
MARGIN, FIXED_MS = 4.0, 40.0
MOST_REFUSAL_MS = 200.0  # the walk of 4 MiB of garbage, four times

VIEWS = [
    View(),
    View(output="mask"),
    View(output="none"),
    View(output="overlay", max_side=16),
    View(output="alpha", max_side=100),
    View(visualization_mode="side-by-side", format="png"),
]


class Nobody:
    """A runtime that is not asked."""

    max_batch = 1

    def predict(self, frames: Pixels, /) -> Probabilities:
        raise AssertionError


PIPELINE = Pipeline(MODES["person"], Nobody(), LIMITS, 1)


@contextmanager
def nothing_on_stderr() -> Iterator[None]:
    """Whoever writes there, Python or a library."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        caught.seek(0)
        assert caught.read() == b""


def opened(data: bytes) -> tuple[Header, Frame] | FrameRejected:
    try:
        header = read_header(data, LIMITS, single=True)
        return header, decode(data, header, WHOLE)
    except FrameRejected as refused:
        return refused


def check_opened(data: bytes) -> Header | None:
    """The whole picture, as a stranger may send it by HTTP; its header where it is one."""
    most_ms = LIMITS.single_work_ms * MARGIN + FIXED_MS
    with nothing_on_stderr():
        got = timed(partial(opened, data), most_ms, __name__)
    if isinstance(got, FrameRejected):
        check_sentence(str(got), "")
        return None
    header, frame = got
    height, width = header.height, header.width
    size = (width, height) if header.orientation >= 5 else (height, width)
    assert frame.pixels.shape == (*size, 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.size == size
    foretold_ms = header.work_ms * MARGIN + FIXED_MS
    timed(partial(opened, data), foretold_ms, __name__)
    return header


@fuzzed(700, data=pictures())
def test_whole_pictures(data: bytes) -> None:
    check_opened(data)


@fuzzed(100, data=st.binary(max_size=300) | st.sampled_from(whole()).flatmap(
    lambda data: st.integers(0, len(data)).map(lambda end: data[:end])))  # fmt: skip
def test_noise_and_truncations(data: bytes) -> None:
    check_opened(data)


@fuzzed(500, data=pictures(), view=st.sampled_from(VIEWS), single=st.booleans())
def test_what_a_segmenter_does_with_a_frame(data: bytes, view: View, single: bool) -> None:
    request = FrameRequest(data, view, single)
    budget_ms = LIMITS.single_work_ms if single else LIMITS.frame_work_ms

    def step() -> Decoded | FrameRejected | ResultTooLarge:
        try:
            return PIPELINE.decode(request)
        except (FrameRejected, ResultTooLarge) as refused:
            return refused

    with nothing_on_stderr():
        got = timed(step, budget_ms * MARGIN + FIXED_MS, __name__)
    if not isinstance(got, Decoded):
        check_sentence(str(got), "")
        return
    assert got.network_input.shape == (*MODES["person"].input_size, 3)
    assert got.network_input.dtype == got.canvas.dtype == np.uint8
    assert got.panel == panel_size(view, got.size)
    assert got.canvas.shape in ((*got.panel, 3), got.network_input.shape)


def test_files_as_encoders_write_them_are_let_in_unless_they_are_animated() -> None:
    taken = [data for data in whole() if check_opened(data)]
    assert len(whole()) - len(taken) == 2 * 4
