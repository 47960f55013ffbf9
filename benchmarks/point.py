"""One point: a server at a number of clients, in slices, the bare pipeline laid beside each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load.process import under_load
from benchmarks.plan import Plan
from benchmarks.served import Running
from benchmarks.yardstick import Yardstick, stopped

Point = dict[str, Any]


class Yards:
    """What the bare pipeline did before, between and after the slices of one point."""

    def __init__(self, yardstick: Yardstick, seconds: float, parts: tuple[str, ...]) -> None:
        self._yardstick = yardstick
        self._seconds = seconds
        self._parts = parts
        self._laid: list[dict[str, Any]] = []

    def lay(self, server: Running) -> None:
        """Measure once more, while the processes of ``server`` stand still."""
        with stopped(server.family()):
            measure = self._yardstick.measure
            self._laid.append({part: measure(part, self._seconds) for part in self._parts})

    def compare(self, point: Point) -> None:
        """Enter in ``point`` what it is of the bare pipeline around each of its slices."""
        fps = [yard["pipeline"]["fps"] for yard in self._laid]
        bare_fps = [(before + after) / 2 for before, after in pairwise(fps)]
        slices = zip(point.pop("slices_fps"), bare_fps, strict=True)
        point["bare_fps"] = median(bare_fps)
        point["share"] = median(served / bare for served, bare in slices)
        if "single" in self._parts:
            single_ms = median(yard["single"]["p50_ms"] for yard in self._laid)
            point["over_single_ms"] = point["p50_ms"] - single_ms


@dataclass(frozen=True, slots=True)
class Bench:
    """What every point is measured with."""

    plan: Plan
    pictures: Path
    yardstick: Yardstick
    say: Callable[[str], None]

    def points(self, server: Running, speaks: str, output: str) -> dict[str, Point]:
        """Each number of clients of the plan."""
        return {
            str(clients): self.point(server, speaks, output, clients)
            for clients in self.plan.clients
        }

    def point(self, server: Running, speaks: str, output: str, clients: int) -> Point:
        """A closed loop; with one client, one frame in the bare pipeline is told too."""
        parts = ("pipeline", "single") if clients == 1 else ("pipeline",)
        yards = Yards(self.yardstick, self.plan.yard_s, parts)
        yards.lay(server)
        point = under_load(
            server,
            "closed",
            self.pictures,
            lambda: yards.lay(server),
            speaks=speaks,
            output=output,
            clients=clients,
            slices=self.plan.slices,
            seconds=self.plan.seconds,
        )
        yards.lay(server)
        yards.compare(point)
        self.say(f"{speaks} {output}, {clients} clients: {_in_words(point)}")
        return point


def _in_words(point: Point) -> str:
    return (
        f"{point['fps']:.0f} frames/s, {point['share']:.2f} of the bare pipeline, "
        f"p50 {point['p50_ms']:.1f} ms, p99 {point['p99_ms']:.1f} ms, "
        f"{sum(point['cpu_ms'].values()):.1f} ms of CPU a frame"
    )
