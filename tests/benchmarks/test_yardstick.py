"""The yardstick does what it is told; meanwhile a server's processes stand still."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.yardstick import Yardstick, stopped

DEADLINE_S = 20.0


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield psutil.Process(started.pid)
        started.kill()


def wait_until(process: psutil.Process, *, still: bool) -> None:
    """Return once the process stands still, or does not."""
    deadline = time.monotonic() + DEADLINE_S
    while (process.status() == psutil.STATUS_STOPPED) is not still:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_they_stand_still_meanwhile_and_go_on(process: psutil.Process) -> None:
    with stopped([process]):
        wait_until(process, still=True)
    wait_until(process, still=False)


def test_they_go_on_after_a_failure_too(process: psutil.Process) -> None:
    def fail() -> None:
        with stopped([process]):
            wait_until(process, still=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    wait_until(process, still=False)


def test_one_that_has_gone_is_no_obstacle(process: psutil.Process) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as short:
        gone = psutil.Process(short.pid)
    with stopped([gone, process]):
        wait_until(process, still=True)


PIPELINE = """#!/bin/sh
while read part seconds; do echo "{\\"part\\": \\"$part\\", \\"seconds\\": $seconds}"; done
"""


def test_it_measures_a_part_at_a_time_and_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script stands for the bare pipeline: it tells what it was told."""
    script = tmp_path / "python"
    script.write_text(PIPELINE)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    before = set(psutil.Process().children())
    with Yardstick(tmp_path / "frames") as yardstick:
        assert yardstick.measure("single", 1.5) == {"part": "single", "seconds": 1.5}
        assert yardstick.measure("model", 0.5) == {"part": "model", "seconds": 0.5}
    assert set(psutil.Process().children()) <= before
