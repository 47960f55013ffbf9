"""What was measured on, in figures and in words."""

from __future__ import annotations

from importlib.metadata import version

from benchmarks import machine
from deployments.cores import cores
from tests.benchmarks.measured import MACHINE


def test_the_cores_are_those_that_this_process_may_use() -> None:
    assert machine.describe()["cores"] == cores()


def test_the_versions_are_those_installed() -> None:
    described = machine.describe()
    assert described["versions"]["websockets"] == version("websockets")
    assert described["processor"]


def test_it_is_told_in_one_line() -> None:
    assert machine.in_words(MACHINE) == "2 cores (a processor), Linux, Python 3.11, ray 2.60.0"
