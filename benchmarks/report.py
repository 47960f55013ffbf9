"""What a run says to a reader: its tables, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import machine
from benchmarks.medians import median_of, thirds
from benchmarks.promises import OURS, promises

BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
_MIB = 1 << 20


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
    rows = [
        _overload_row(name, overload[name]) for name in ("ours", "fastapi_pool") if name in overload
    ]
    head = ("overload", "offered/s", "served/s", "age p50 ms", "age p99 ms", "p99 at the end",
            "drops", "frames by client", "memory MiB")  # fmt: skip
    return _table(f"Overload: {overload['clients']} cameras of 30 frames/s", head, rows)


def _overload_row(name: str, o: Mapping[str, Any]) -> str:
    drops = ", ".join(f"{cause} {count:,}" for cause, count in sorted(o["drops"].items()))
    _, second, last = thirds([sum(kinds.values()) / _MIB for _, kinds in o["memory_bytes"]])
    return (
        f"| {name} | {o['offered_fps']:.0f} | {o['fps']:.0f} | {o['age_p50_ms']:.0f} "
        f"| {o['age_p99_ms']:.0f} | {o['ages_ms'][-1][1]:.0f} | {drops or 'none'} "
        f"| {o['least_served']} to {o['most_served']} "
        f"| {fmean(second):.0f} → {fmean(last):.0f} |"
    )


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
