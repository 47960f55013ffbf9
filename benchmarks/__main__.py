"""``make bench``: everything that is measured, in one run, side by side.

    python -m benchmarks                 the whole, three quarters of an hour
    python -m benchmarks --quick         a look, two to three minutes
    python -m benchmarks --only served   parts alone, nothing written

A round measures each server at each number of clients, one after the other, none while another
runs, in slices of a second or so with the bare pipeline in between (``benchmarks.yardstick``). What
two servers do is compared by their median shares of it, so that neither gains from the machine's
better moments. Every figure is the median of the rounds.

The whole run writes ``results.json``, ``plot.png`` and the tables of ``README.md`` in this
folder; with ``--out`` any run writes the first two there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.plan import QUICK, WHOLE
from benchmarks.run import PARTS, Run


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--rounds", type=int, help="instead of the plan's")
    parser.add_argument("--out", type=Path, help="a folder for the JSON and the plot")
    options = parser.parse_args(argv)
    plan = QUICK if options.quick else WHOLE
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        measured = Run(plan, options.only, Path(scratch)).everything()
    print(report.tables(measured))
    whole = not options.quick and set(options.only) == set(PARTS)
    if whole or options.out:
        report.write(measured, options.out or Path(__file__).parent, readme=whole)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
