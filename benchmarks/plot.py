"""The one picture: throughput, tail latency, age of frames in overload, CPU by process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Stack = tuple[str, Mapping[str, Any]]


def draw(measured: Mapping[str, Any], stacks: Sequence[Stack], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    _lines(axes[0, 0], stacks, "share", "frames/s, share of the bare pipeline")
    axes[0, 0].axhline(1.0, color="grey", linewidth=0.8, linestyle=":")
    _lines(axes[0, 1], stacks, "p99_ms", "p99 latency, ms")
    axes[0, 1].set_yscale("log")
    _ages(axes[1, 0], measured.get("overload", {}))
    _cpu(axes[1, 1], stacks)
    handles, titles = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=3, fontsize=8)
    title = f"SegStream, {measured['when']}, {measured['machine']['cores']} cores, no GPU"
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _lines(axes: Axes, stacks: Sequence[Stack], figure: str, title: str) -> None:
    for number, (stack, points) in enumerate(stacks):
        ours = stack.startswith("SegStream")
        axes.plot(
            list(points),
            [point[figure] for point in points.values()],
            marker="o",
            color=f"C{number}",
            linewidth=2.2 if ours else 1.2,
            linestyle="-" if ours else "--",
            label=stack,
        )
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("clients, closed loop")
    axes.set_ylim(bottom=0) if figure == "share" else None
    axes.grid(alpha=0.3)


def _ages(axes: Axes, overload: Mapping[str, Any]) -> None:
    for number, (name, title) in enumerate(
        (("ours", "SegStream"), ("fastapi_pool", "FastAPI and a thread pool"))
    ):
        if name in overload:
            ages = overload[name]["ages_ms"]
            for index, quantile in ((0, "p50"), (1, "p99")):
                axes.plot(
                    [second[index] for second in ages],
                    color=f"C{number}",
                    linestyle="-" if index else ":",
                    label=f"{title}, {quantile}",
                )
    axes.set_yscale("log")
    axes.set_title("overload: age of a frame when its result came, ms", fontsize=10)
    axes.set_xlabel("seconds")
    axes.grid(alpha=0.3)
    if overload:
        axes.legend(fontsize=8)


def _cpu(axes: Axes, stacks: Sequence[Stack]) -> None:
    """By process for ours at 16 clients; for the others their sum."""
    kinds: dict[str, str] = {}
    for row, (_, points) in enumerate(stacks):
        left = 0.0
        for kind, ms in points.get("16", {}).get("cpu_ms", {}).items():
            colour = kinds.setdefault(kind, f"C{len(kinds) % 10}")
            axes.barh(row, ms, left=left, color=colour)
            left += ms
    axes.set_yticks(range(len(stacks)), [title for title, _ in stacks], fontsize=7)
    axes.invert_yaxis()
    axes.set_title("CPU ms a frame by process, 16 clients", fontsize=10)
    for kind, colour in kinds.items():
        axes.barh(0, 0, color=colour, label=kind)
    if kinds:
        axes.legend(fontsize=7)
