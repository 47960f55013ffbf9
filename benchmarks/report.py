"""What a run says: its medians, what was promised and whether it holds, tables, and the plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks import machine
from ingress.settings import Batching

BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
OURS = "v1 mask"
_MIB = 1 << 20


def median_of(results: Sequence[Any]) -> Any:
    """The median of each figure in results of one shape; of a kind that some lack, of the rest."""
    first = results[0]
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for result in results for key in result)
        return {key: median_of([r[key] for r in results if key in r]) for key in keys}
    if isinstance(first, list):
        return first
    return median(results)


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


def _over_rounds(
    measured: Mapping[str, Any], figure: Callable[[Mapping[str, Any]], float]
) -> float | None:
    """The median of ``figure`` over the rounds that have it."""
    found = []
    for one in measured["rounds"]:
        try:
            found.append(figure(one))
        except KeyError:
            continue
    return median(found) if found else None


def _promised(
    words: str, figure: float | None, bound: float, *, at_most: bool = False
) -> Iterable[Promise]:
    if figure is not None:
        yield Promise(words, figure, bound, at_most)


def _bare(measured: Mapping[str, Any]) -> Iterable[Promise]:
    share = _over_rounds(measured, lambda one: one["bare"]["of_model"])
    yield from _promised("bare pipeline ÷ model only, frames/s", share, 0.70)


def _served(measured: Mapping[str, Any]) -> Iterable[Promise]:
    for clients, bound in (("16", 0.90), ("64", 0.95)):
        share = _over_rounds(measured, lambda one: one["served"][OURS][clients]["share"])  # noqa: B023
        words = f"served v1 mask ÷ bare pipeline, frames/s, {clients} clients"
        yield from _promised(words, share, bound)
    over = _over_rounds(measured, lambda one: one["served"][OURS]["1"]["over_single_ms"])
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
    tail = _over_rounds(measured, lambda one: _slower(one, "p99_ms", "original", "16"))
    words = "v1 mask ÷ original, p99 latency, 16 clients"
    yield from _promised(words, tail, 0.25, at_most=True)
    downlink = _over_rounds(
        measured,
        lambda one: (
            one["served"][OURS]["16"]["bytes_down"] / one["peers"]["original"]["16"]["bytes_down"]
        ),
    )
    yield from _promised("v1 mask ÷ original, bytes down a frame", downlink, 1 / 20, at_most=True)


def _ahead(measured: Mapping[str, Any], peer: str, clients: str) -> float | None:
    """Our share of the bare pipeline over the peer's, each measured beside its own server."""
    return _over_rounds(
        measured,
        lambda one: one["served"][OURS][clients]["share"] / one["peers"][peer][clients]["share"],
    )


def _slower(one: Mapping[str, Any], figure: str, peer: str, clients: str) -> float:
    """Our latency over the peer's, each in frames of the bare pipeline of its minute."""
    ours, theirs = one["served"][OURS][clients], one["peers"][peer][clients]
    return float(ours[figure] * ours["bare_fps"] / (theirs[figure] * theirs["bare_fps"]))


def _idle(measured: Mapping[str, Any]) -> Iterable[Promise]:
    idle = _over_rounds(measured, lambda one: sum(one["idle"].values()))
    yield from _promised("idle application, cores", idle, 0.12, at_most=True)


def _overload(measured: Mapping[str, Any]) -> Iterable[Promise]:
    if "overload" not in measured:
        return
    ours = measured["overload"]["ours"]
    p99 = [second[1] for second in ours["ages_ms"]]
    third = max(1, len(p99) // 3)
    cycle_ms = 1000 * Batching().cycle_s
    yield Promise(
        f"overload: p99 frame age ÷ cycle of {cycle_ms:.0f} ms", ours["age_p99_ms"] / cycle_ms, 3.0,
        at_most=True,
    )  # fmt: skip
    yield Promise(
        "overload: p99 frame age, last third ÷ first third of the time",
        median(p99[-third:]) / median(p99[:third]), 1.25, at_most=True,
    )  # fmt: skip
    mean = ours["frames"] / measured["overload"]["clients"]
    spread = max(ours["most_served"] - mean, mean - ours["least_served"]) / mean
    yield Promise("overload: farthest client from an equal share", spread, 0.05, at_most=True)
    yield Promise("overload: frames of the least served client", ours["least_served"], 1)
    held = [sum(kinds.values()) for _, kinds in ours["memory_bytes"]]
    third = max(1, len(held) // 3)
    yield Promise(
        "overload: memory, last third ÷ second third of the time",
        fmean(held[-third:]) / fmean(held[third : 2 * third]), 1.03, at_most=True,
    )  # fmt: skip


# ------------------------------------------------------------------ tables


def tables(measured: Mapping[str, Any]) -> str:
    """Everything for a reader, as Markdown."""
    parts = [
        f"{measured['when']}, {machine.in_words(measured['machine'])}; "
        f"{len(measured['rounds'])} rounds in {measured.get('took_s', 0) / 60:.0f} minutes.",
        _promise_table(measured),
        _throughput_table(measured),
        _cpu_table(measured),
        _stage_table(measured),
        _scaling_table(measured),
        _overload_table(measured),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(title: str, head: Sequence[str], rows: Sequence[str]) -> str:
    if not rows:
        return ""
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows]
    return "\n".join(lines)


def _promise_table(measured: Mapping[str, Any]) -> str:
    rows = [promise.row for promise in promises(measured)]
    return _table("What was asked, and what was measured", ("", "asked", "measured", "holds"), rows)


def _stacks(measured: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every server that was measured, by title, with its points by number of clients."""
    rounds = median_of(measured["rounds"])
    for way, points in rounds.get("served", {}).items():
        yield f"SegStream, {way}", points
    for name, peer in measured["peers"].items():
        if points := rounds.get("peers", {}).get(name):
            yield f"{peer['title']} {peer['version']}", points


def _throughput_table(measured: Mapping[str, Any]) -> str:
    rows = [
        f"| {title} | {clients} | {p['fps']:.0f} | {p['share']:.2f} | {p['p50_ms']:.1f} "
        f"| {p['p99_ms']:.1f} | {sum(p['cpu_ms'].values()):.1f} "
        f"| {p['bytes_up'] / 1000:.1f} | {p['bytes_down'] / 1000:.1f} |"
        for title, points in _stacks(measured)
        for clients, p in points.items()
    ]
    rows += [f"| {name} | | not measured: {why} |" for name, why in measured["unavailable"].items()]
    head = ("closed loop, one frame under way a client", "clients", "frames/s", "of bare",
            "p50 ms", "p99 ms", "CPU ms a frame", "kB up", "kB down")  # fmt: skip
    return _table("Served", head, rows)


def _cpu_table(measured: Mapping[str, Any]) -> str:
    points = median_of(measured["rounds"]).get("served", {}).get(OURS, {})
    kinds = sorted({kind for point in points.values() for kind in point["cpu_ms"]})
    rows = [
        f"| {kind} | "
        + " | ".join(f"{p['cpu_ms'].get(kind, 0):.2f}" for p in points.values())
        + " |"
        for kind in kinds
    ]
    head = ["v1 mask: CPU ms a frame", *(f"{clients} clients" for clients in points)]
    return _table("Where the CPU goes, by process", head, rows)


def _stage_table(measured: Mapping[str, Any]) -> str:
    bare = median_of(measured["rounds"]).get("bare")
    if not bare:
        return ""
    single = bare["single"]
    rows = [f"| {stage} | {ms:.2f} |" for stage, ms in single["stages_ms"].items()]
    rest = single["p50_ms"] - sum(single["stages_ms"].values())
    rows.append(f"| threads and the rest | {rest:.2f} |")
    rows.append(f"| one frame | {single['p50_ms']:.2f} |")
    title = (
        f"One frame in the bare pipeline (model only {bare['model']['fps']:.0f} frames/s, "
        f"pipeline {bare['pipeline']['fps']:.0f})"
    )
    return _table(title, ("stage", "ms"), rows)


def _scaling_table(measured: Mapping[str, Any]) -> str:
    rows = [
        f"| {replicas} | {clients} | {p['fps']:.0f} | {p['share']:.2f} | {p['p99_ms']:.0f} |"
        for replicas, points in measured.get("scaling", {}).items()
        for clients, p in points.items()
    ]
    return _table(
        "Replicas, on the same cores",
        ("replicas", "clients", "frames/s", "of bare", "p99 ms"),
        rows,
    )


def _overload_table(measured: Mapping[str, Any]) -> str:
    overload = measured.get("overload")
    if not overload:
        return ""
    rows = []
    for name in ("ours", "fastapi_pool"):
        if name in overload:
            o = overload[name]
            drops = ", ".join(f"{cause} {count:,}" for cause, count in sorted(o["drops"].items()))
            held = [sum(kinds.values()) / _MIB for _, kinds in o["memory_bytes"]]
            third = max(1, len(held) // 3)
            rows.append(
                f"| {name} | {o['offered_fps']:.0f} | {o['fps']:.0f} | {o['age_p50_ms']:.0f} "
                f"| {o['age_p99_ms']:.0f} | {o['ages_ms'][-1][1]:.0f} | {drops or 'none'} "
                f"| {o['least_served']} to {o['most_served']} "
                f"| {fmean(held[third : 2 * third]):.0f} → {fmean(held[-third:]):.0f} |"
            )
    head = ("overload", "offered/s", "served/s", "age p50 ms", "age p99 ms", "p99 at the end",
            "drops", "frames by client", "memory MiB")  # fmt: skip
    return _table(f"Overload: {overload['clients']} cameras of 30 frames/s", head, rows)


# ------------------------------------------------------------------ files


def write(measured: Mapping[str, Any], folder: Path, *, readme: bool) -> None:
    """``results.json`` and ``plot.png`` in ``folder``; with ``readme`` the tables in README.md."""
    from benchmarks import plot  # drawing alone needs matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(measured, indent=1) + "\n")
    plot.draw(measured, list(_stacks(measured)), folder / "plot.png")
    if readme:
        page = folder / "README.md"
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n\n{tables(measured)}\n\n{END}{after}")
