"""The closed loop: one frame under way for each client, and an honest account of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Self

import pytest

from benchmarks.load.closed import ClosedLoop, closed
from benchmarks.load.speakers import NoAnswer
from benchmarks.load.window import Window

PICTURES = (b"a", b"b", b"c")


class Echo:
    """A client whose server answers every frame ``late_s`` after it; keeps what it was sent."""

    def __init__(self, late_s: float = 0.0, fails_at: int | None = None) -> None:
        self.sent: list[bytes] = []
        self._late_s = late_s
        self._fails_at = fails_at
        self._under_way = 0

    @classmethod
    async def dial(cls, url: str, output: str) -> Self:
        return cls()

    async def ask(self, frame: bytes) -> tuple[int, int]:
        assert self._under_way == 0, "a second frame is under way"
        if len(self.sent) == self._fails_at:
            raise NoAnswer("busy")
        self.sent.append(frame)
        self._under_way += 1
        await asyncio.sleep(self._late_s)
        self._under_way -= 1
        return 10, 20

    async def leave(self) -> None: ...


async def run(speakers: Sequence[Echo], *windows: tuple[float, float]) -> ClosedLoop:
    loop = ClosedLoop(speakers, PICTURES)
    for window in windows:
        await loop.run(Window(*window))
    return loop


async def test_each_client_begins_elsewhere_in_the_clip_and_goes_round() -> None:
    speakers = [Echo(), Echo()]
    await run(speakers, (0.0, 0.02))
    assert speakers[0].sent[:4] == [b"a", b"b", b"c", b"a"]
    assert speakers[1].sent[:4] == [b"b", b"c", b"a", b"b"]


async def test_what_was_answered_in_the_window_is_counted_and_weighed() -> None:
    quick, slow = Echo(), Echo(0.01)
    figures = (await run([quick, slow], (0.0, 0.1))).figures()
    assert figures["most_served"] >= len(quick.sent) - 1
    assert figures["least_served"] <= len(slow.sent) <= 11
    assert figures["frames"] == figures["most_served"] + figures["least_served"]
    assert figures["fps"] == pytest.approx(figures["frames"] / 0.1)
    assert (figures["bytes_up"], figures["bytes_down"]) == (10, 20)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["p99_ms"] < 1000


async def test_the_warm_up_is_not_counted() -> None:
    speaker, before = Echo(), time.perf_counter()
    figures = (await run([speaker], (0.2, 0.001))).figures()
    assert time.perf_counter() >= before + 0.201
    assert figures["frames"] < len(speaker.sent)


async def test_a_server_that_answers_nothing_in_time_has_figures_too() -> None:
    figures = (await run([Echo(0.05)], (0.0, 0.01))).figures()
    assert figures["frames"] == figures["fps"] == figures["p99_ms"] == figures["bytes_up"] == 0
    assert figures["slices_fps"] == [0.0]


async def test_slices_are_told_one_by_one_and_together() -> None:
    loop = await run([Echo(), Echo()], (0.0, 0.01), (0.01, 0.03))
    figures = loop.figures()
    first, second = figures["slices_fps"]
    assert first > 0
    assert 0.01 * first + 0.03 * second == pytest.approx(figures["frames"])
    assert figures["fps"] == pytest.approx(figures["frames"] / 0.04)


async def test_it_rests_between_slices_until_its_parent_lets_it_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Parent:
        def readline(self) -> str:
            sys.stdout.write("go on\n")
            return "go on\n"

    monkeypatch.setattr("benchmarks.load.closed._AGAIN_S", 0.0)
    monkeypatch.setattr(sys, "stdin", Parent())
    options = argparse.Namespace(slices=3, warmup=0.0, seconds=0.01)
    figures = await closed([Echo()], PICTURES, options)
    said = capsys.readouterr().out.split("\n")
    slice_ = ["begin", "end"]
    assert said == [*slice_, "rest", "go on", *slice_, "rest", "go on", *slice_, ""]
    assert len(figures["slices_fps"]) == 3


async def test_an_answer_that_is_none_fails_the_measurement() -> None:
    with pytest.raises(NoAnswer, match="busy"):
        await run([Echo(), Echo(fails_at=2)], (0.0, 60.0))
