"""The frames of a benchmark: real JPEGs of one size, that differ, and survive the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import frames
from models.pictures.headers import read_header
from models.pictures.limits import ImageLimits

LIMITS = ImageLimits(max_pixels=1 << 24, max_bytes=1 << 22)


def test_they_are_jpegs_of_one_size_and_no_two_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "COUNT", 3)
    made = frames.make()
    assert len(set(made)) == 3
    headers = [read_header(jpeg, LIMITS) for jpeg in made]
    assert {(header.width, header.height) for header in headers} == {(frames.WIDTH, frames.HEIGHT)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    frames.write((b"a", b"b"), tmp_path / "frames")
    assert frames.read(tmp_path / "frames") == [b"a", b"b"]
