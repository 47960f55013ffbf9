"""A window holds what falls into it, and tells its parent of both ends."""

from __future__ import annotations

import time

import pytest

from benchmarks.load.window import Window


def test_it_begins_after_the_warm_up_and_holds_its_beginning_but_not_its_end() -> None:
    before = time.perf_counter()
    window = Window(10.0, 2.0)
    assert before + 10 <= window.begin <= time.perf_counter() + 10
    assert window.end == window.begin + 2.0
    moments = (window.begin - 1e-6, window.begin, window.end - 1e-6, window.end)
    assert [window.holds(moment) for moment in moments] == [False, True, True, False]


async def test_it_tells_when_it_begins_and_when_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    window = Window(0.01, 0.02)
    spent_s = await window.announce()
    assert time.perf_counter() >= window.end
    assert capsys.readouterr().out == "begin\nend\n"
    assert 0 <= spent_s < 1
