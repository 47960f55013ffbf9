"""The bare pipeline beside every server: how fast the machine is just now.

A rate means little on a shared machine whose speed changes by half within seconds; its share of
what the bare pipeline does right before and after means much. While the yardstick is laid on, the
server's processes are stopped, so that neither pays for the other.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from deployments.launch.configuration import ROOT


class Yardstick:
    """``benchmarks.bare`` at our command."""

    def __init__(self, pictures: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare", f"--frames={pictures}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self.measure("pipeline", 0.5)  # returns once everything is loaded and warm
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def measure(self, part: str, seconds: float) -> dict[str, Any]:
        """``model``, ``pipeline`` or ``single``, for that long."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{part} {seconds}\n")
        self._process.stdin.flush()
        measured: dict[str, Any] = json.loads(self._process.stdout.readline())
        return measured


@contextmanager
def stopped(processes: Iterable[psutil.Process]) -> Iterator[None]:
    """Every one of ``processes`` stands still meanwhile."""
    halted = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
            halted.append(process)
    try:
        yield
    finally:
        for process in halted:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
