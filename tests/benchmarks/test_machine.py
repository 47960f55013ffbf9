"""What was measured on, in figures and in words."""

from __future__ import annotations

import os
from importlib.metadata import version

from benchmarks import machine
from tests.benchmarks.measured import MACHINE


def test_the_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert machine.describe()["cores"] == len(allowed)


def test_the_versions_are_those_installed() -> None:
    described = machine.describe()
    assert described["versions"]["websockets"] == version("websockets")
    assert described["processor"]


def test_it_is_told_in_one_line() -> None:
    assert machine.in_words(MACHINE) == "2 cores (a processor), Linux, Python 3.11, ray 2.60.0"
