"""The plot is drawn of whatever a run has measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measured import overload, run

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("parts", [{}, {"overload": overload()}, {"rounds": [{}], "peers": {}}])
def test_it_is_drawn_of_what_there_is(tmp_path: Path, parts: dict[str, Any]) -> None:
    from benchmarks import plot

    measured = run(**parts)
    points = measured["rounds"][0].get("served", {}).get("v1 mask", {})
    stacks = [("SegStream, v1 mask", points)] if points else []
    plot.draw(measured, stacks, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
