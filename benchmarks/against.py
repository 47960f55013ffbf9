"""Another commit beside this one: what a change costs, or gains.

    python -m benchmarks.against FOLDER               FOLDER is a checkout of the other commit
    python -m benchmarks.against FOLDER --out FILE    writes the page, too

Both are started by their own ``deployments.launch`` and measured by this checkout's load
generator, one after the other in each round, and the next round in the other order: idle, then a
closed loop at each number of clients in slices with the bare pipeline in between. What is compared
are the medians of the rounds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import frames, machine, served
from benchmarks.medians import median_of
from benchmarks.plan import WHOLE, Plan
from benchmarks.point import Bench
from benchmarks.yardstick import Yardstick
from deployments.launch.configuration import ROOT

Round = dict[str, Any]

_HEAD = """\
# Beside another commit
`python -m benchmarks.against FOLDER --out {out}`, with {other} in FOLDER beside {ours}:
medians of {rounds} rounds. {machine}

CPU is that of all processes of the server and of the load generator, for each answered frame.

"""
_COLUMNS = """\
| | of the bare pipeline | CPU, ms a frame | p50, ms | p99, ms |
|---|---|---|---|---|
"""


def measure(bench: Bench, plan: Plan, checkout: Path) -> Round:
    """One round of the commit in that folder."""
    with served.checkout(checkout) as app:
        idle = served.idle(app, plan.settle_s, plan.idle_s)
        bench.say(f"idle: {sum(idle.values()):.3f} cores")
        points = {f"{way[0]} {way[1]}": bench.points(app, *way) for way in plan.ways}
    return {"idle": idle, "served": points}


def rounds(bench: Bench, plan: Plan, checkouts: Sequence[Path]) -> list[Round]:
    """For each checkout its medians over the rounds."""
    measured: dict[Path, list[Round]] = {checkout: [] for checkout in checkouts}
    for number in range(plan.rounds):
        turn = checkouts if number % 2 == 0 else tuple(reversed(checkouts))
        for checkout in turn:
            bench.say(f"round {number + 1} of {plan.rounds}: {commit_of(checkout)}")
            measured[checkout].append(measure(bench, plan, checkout))
    return [median_of(measured[checkout]) for checkout in checkouts]


def table(before: Round, after: Round) -> str:
    """Both in Markdown, before and after in each cell."""
    rows = [
        f"| {way}, {clients} | {_cells(before['served'][way][clients], point)} |"
        for way, points in after["served"].items()
        for clients, point in points.items()
    ]
    cores = " → ".join(f"{sum(one['idle'].values()):.3f}" for one in (before, after))
    return _COLUMNS + "\n".join(rows) + f"\n\nIdle, cores: {cores}.\n"


def _cells(before: dict[str, Any], after: dict[str, Any]) -> str:
    kinds: tuple[tuple[str, Callable[[dict[str, Any]], float]], ...] = (
        ("{:.3f}", lambda point: point["share"]),
        ("{:.2f}", lambda point: sum(point["cpu_ms"].values())),
        ("{:.1f}", lambda point: point["p50_ms"]),
        ("{:.1f}", lambda point: point["p99_ms"]),
    )
    return " | ".join(f"{form.format(of(before))} → {form.format(of(after))}" for form, of in kinds)


def commit_of(checkout: Path) -> str:
    """The short name of what is checked out there, marked where files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=checkout, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return said.stdout.strip()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.against", description=__doc__)
    parser.add_argument("checkout", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=WHOLE.rounds)
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    plan = replace(WHOLE, rounds=options.rounds)
    other = options.checkout.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        pictures = Path(scratch) / "frames"
        frames.write(frames.make(), pictures)
        with Yardstick(pictures) as yardstick:
            bench = Bench(plan, pictures, yardstick, lambda words: print(words, flush=True))
            before, after = rounds(bench, plan, (other, ROOT))
    page = _HEAD.format(
        out=options.out or "FILE",
        other=commit_of(other),
        ours=commit_of(ROOT),
        rounds=plan.rounds,
        machine=machine.in_words(machine.describe()),
    ) + table(before, after)
    print(page)
    if options.out:
        options.out.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
