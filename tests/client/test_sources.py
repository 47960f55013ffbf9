"""Frames from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from client.sample import SampleClip
from client.sources import Unreadable, Video, encode_jpeg, open_source


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Three frames of one colour each: red, green, blue."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for channel in (2, 1, 0):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., channel] = 250
        writer.write(frame)
    writer.release()
    return path


def test_a_video_gives_its_frames_in_rgb_and_then_nothing(film: Path) -> None:
    source, close = open_source(str(film))
    frames = [source.at(0.0) for _ in range(4)]
    close()
    assert frames[3] is None
    strongest = [int(f.mean(axis=(0, 1)).argmax()) for f in frames[:3] if f is not None]
    assert strongest == [0, 1, 2]


def test_what_is_no_video_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="cannot open video"):
        Video(str(tmp_path / "none.avi"))


def test_without_a_video_the_sample_plays() -> None:
    source, close = open_source(None)
    close()
    assert isinstance(source, SampleClip)


def test_a_jpeg_keeps_the_colours() -> None:
    picture = np.full((32, 32, 3), (200, 100, 50), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(picture), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.abs(decoded[..., ::-1].astype(int) - picture).max() < 6
