"""What was promised of the application, and whether a run holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from benchmarks.medians import over_rounds, thirds
from ingress.settings import Batching

OURS = "v1 mask"


@dataclass(frozen=True, slots=True)
class Promise:
    """What a figure has to be."""

    words: str
    figure: float
    bound: float
    at_most: bool = False

    @property
    def holds(self) -> bool:
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    @property
    def row(self) -> str:
        relation = "≤" if self.at_most else "≥"
        verdict = "yes" if self.holds else "**no**"
        return f"| {self.words} | {relation} {self.bound:.4g} | {self.figure:.3g} | {verdict} |"


def promises(measured: Mapping[str, Any]) -> list[Promise]:
    """Those that this run can tell something about."""
    return [
        promise
        for about in (_bare, _served, _against_peers, _idle, _overload)
        for promise in about(measured)
    ]


def _promised(
    words: str, figure: float | None, bound: float, *, at_most: bool = False
) -> Iterable[Promise]:
    if figure is not None:
        yield Promise(words, figure, bound, at_most)


def _bare(measured: Mapping[str, Any]) -> Iterable[Promise]:
    share = over_rounds(measured, lambda one: one["bare"]["of_model"])
    yield from _promised("bare pipeline ÷ model only, frames/s", share, 0.70)


def _served(measured: Mapping[str, Any]) -> Iterable[Promise]:
    for clients, bound in (("16", 0.90), ("64", 0.95)):
        share = over_rounds(measured, lambda one: one["served"][OURS][clients]["share"])  # noqa: B023
        words = f"served v1 mask ÷ bare pipeline, frames/s, {clients} clients"
        yield from _promised(words, share, bound)
    over = over_rounds(measured, lambda one: one["served"][OURS]["1"]["over_single_ms"])
    words = "one client: p50 beyond one frame in the bare pipeline, ms"
    yield from _promised(words, over, 4.0, at_most=True)


_AHEAD = (("original", 4.0, ("16",)), ("litserve", 1.3, ("16", "64")),
          ("bentoml", 1.3, ("16", "64")), ("mosec", 1.05, ("16", "64")),
          ("fastapi_pool", 0.97, ("16", "64")))  # fmt: skip


def _against_peers(measured: Mapping[str, Any]) -> Iterable[Promise]:
    for name, bound, at in _AHEAD:
        for clients in at:
            words = f"v1 mask ÷ {name}, frames/s, {clients} clients"
            yield from _promised(words, _ahead(measured, name, clients), bound)
    tail = over_rounds(measured, lambda one: _slower(one, "p99_ms", "original", "16"))
    words = "v1 mask ÷ original, p99 latency, 16 clients"
    yield from _promised(words, tail, 0.25, at_most=True)
    downlink = over_rounds(
        measured,
        lambda one: (
            one["served"][OURS]["16"]["bytes_down"] / one["peers"]["original"]["16"]["bytes_down"]
        ),
    )
    yield from _promised("v1 mask ÷ original, bytes down a frame", downlink, 1 / 20, at_most=True)


def _ahead(measured: Mapping[str, Any], peer: str, clients: str) -> float | None:
    """Our share of the bare pipeline over the peer's, each measured beside its own server."""
    return over_rounds(
        measured,
        lambda one: one["served"][OURS][clients]["share"] / one["peers"][peer][clients]["share"],
    )


def _slower(one: Mapping[str, Any], figure: str, peer: str, clients: str) -> float:
    """Our latency over the peer's, each in frames of the bare pipeline of its minute."""
    ours, theirs = one["served"][OURS][clients], one["peers"][peer][clients]
    return float(ours[figure] * ours["bare_fps"] / (theirs[figure] * theirs["bare_fps"]))


def _idle(measured: Mapping[str, Any]) -> Iterable[Promise]:
    idle = over_rounds(measured, lambda one: sum(one["idle"].values()))
    yield from _promised("idle application, cores", idle, 0.12, at_most=True)


def _overload(measured: Mapping[str, Any]) -> Iterable[Promise]:
    if "overload" not in measured:
        return
    ours = measured["overload"]["ours"]
    yield from _ages(ours)
    yield from _fairness(ours, measured["overload"]["clients"])
    _, second, last = thirds([sum(kinds.values()) for _, kinds in ours["memory_bytes"]])
    words = "overload: memory, last third ÷ second third of the time"
    yield Promise(words, fmean(last) / fmean(second), 1.03, at_most=True)


def _ages(ours: Mapping[str, Any]) -> Iterable[Promise]:
    cycle_ms = 1000 * Batching().cycle_s
    words = f"overload: p99 frame age ÷ cycle of {cycle_ms:.0f} ms"
    yield Promise(words, ours["age_p99_ms"] / cycle_ms, 3.0, at_most=True)
    first, _, last = thirds([second[1] for second in ours["ages_ms"]])
    words = "overload: p99 frame age, last third ÷ first third of the time"
    yield Promise(words, median(last) / median(first), 1.25, at_most=True)


def _fairness(ours: Mapping[str, Any], clients: int) -> Iterable[Promise]:
    mean = ours["frames"] / clients
    spread = max(ours["most_served"] - mean, mean - ours["least_served"]) / mean
    yield Promise("overload: farthest client from an equal share", spread, 0.05, at_most=True)
    yield Promise("overload: frames of the least served client", ours["least_served"], 1)
