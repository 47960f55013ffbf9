"""The sample clip: a function of time, with a person in it."""

from __future__ import annotations

import numpy as np
import pytest

from client.sample import SampleClip


@pytest.fixture(scope="module")
def clip() -> SampleClip:
    return SampleClip(320, 180)


def test_a_frame_is_rgb_of_the_size_asked_for(clip: SampleClip) -> None:
    frame = clip.at(0.0)
    assert frame.shape == (180, 320, 3)
    assert frame.dtype == np.uint8


def test_the_same_moment_is_the_same_frame_in_any_clip(clip: SampleClip) -> None:
    first = clip.at(3.25)
    clip.at(7.0)
    assert np.array_equal(clip.at(3.25), first)
    assert np.array_equal(SampleClip(320, 180).at(3.25), first)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.5), (0.5, 1.0), (100.0, 100.5)])
def test_the_clip_moves(clip: SampleClip, a: float, b: float) -> None:
    moved = np.abs(clip.at(a).astype(int) - clip.at(b)).max(axis=2) > 16
    assert moved.mean() > 0.02


@pytest.mark.parametrize("seconds", [0.0, 3.0, 17.0, 1000.0])
def test_the_person_stands_in_front_of_the_sky(clip: SampleClip, seconds: float) -> None:
    red, _, blue = np.moveaxis(clip.at(seconds).astype(int), 2, 0)
    suit = red > blue + 60  # the suit is orange, the sky is blue
    assert 0.1 < suit.mean() < 0.6
    assert suit[-1].any()  # no gap below the body
    assert not suit[:, :10].any()
