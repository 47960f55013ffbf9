"""The load generator from outside: its process, and what the server spends while it measures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.served import Running
from deployments.launch.configuration import ROOT


def under_load(
    server: Running,
    how: str,
    pictures: Path,
    rest: Callable[[], object] = lambda: None,
    **options: object,
) -> dict[str, Any]:
    """Run the load generator against ``server``; its figures, and the CPU by kind of process.

    ``cpu_ms`` are milliseconds per answered frame, the load generator's included. ``rest`` is
    called between the slices of a closed loop.
    """
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.load", how, f"--url={server.url}", *words]
    meter = Meter(server.cpu_s)
    with subprocess.Popen(
        [*command, f"--frames={pictures}"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as load:
        said = _listen(load, meter, rest)
    if load.returncode or not said:
        raise RuntimeError(f"the load generator failed: {' '.join(command)}")
    return meter.told_with(json.loads(said))


def _listen(load: subprocess.Popen[str], meter: Meter, rest: Callable[[], object]) -> str:
    """Keep up with what it says, to its end; its figures in JSON, or nothing."""
    assert load.stdin is not None
    assert load.stdout is not None
    said = ""
    for line in load.stdout:
        match line.strip():
            case "begin":
                meter.begin()
            case "end":
                meter.end()
            case "rest":
                rest()
                load.stdin.write("go on\n")
                load.stdin.flush()
            case figures_in_json:
                said = figures_in_json
    return said


class Meter:
    """CPU seconds by kind of process, over the slices between ``begin`` and ``end``."""

    def __init__(self, read: Callable[[], dict[str, float]]) -> None:
        self._read = read
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._took_s = self._begun = 0.0
        self._before: dict[str, float] = {}

    def begin(self) -> None:
        self._before, self._begun = self._read(), time.perf_counter()

    def end(self) -> None:
        after = self._read()
        self._took_s += time.perf_counter() - self._begun
        for kind, seconds in after.items():
            self._spent[kind] += seconds - self._before.get(kind, 0.0)

    def told_with(self, figures: dict[str, Any]) -> dict[str, Any]:
        """``figures`` of a load, with what it cost the server and the load generator."""
        spent = {**self._spent, "load": figures.pop("load_cpu_s")}
        answered = max(1, figures["frames"])
        figures["cpu_ms"] = {kind: 1000 * s / answered for kind, s in spent.items() if s > 0}
        figures["cores"] = sum(spent.values()) / self._took_s
        return figures
