"""The report of the soaks, docs/soak.md: what each measured when it last passed.

A run writes the rows of those that it ran, and leaves the others as they are: all of them take more
than an hour, and each is a proof by itself.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import NamedTuple

import pytest

from deployments.launch.configuration import ROOT

REPORT = ROOT / "docs" / "soak.md"

_SOAKS = ("tests/soak/", "tests/fuzz/test_soak.py", "tests/attacks/")

_PAGE = """\
# What the soaks measured
Each row is of the last time that its soak passed, written by `make soak`, which runs them all, or
by `pytest -m soak FILE`. `tests/soak`, `tests/fuzz`, `tests/attacks` say what each one asserts.

{machine}.

| soak | profile or door | when | seconds | figures |
|---|---|---|---|---|
{rows}

{rest}"""

_THE_REST = "The state machine of"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Put the rows of what has passed into the report."""
    new = {row.key: row for row in map(_row, _passed(session)) if row.figures}
    if not new:
        return
    page = REPORT.read_text()
    rows = {row.key: row for row in map(Row.read, page.splitlines()) if row} | new
    _, mark, rest = page.partition(_THE_REST)
    REPORT.write_text(
        _PAGE.format(
            machine=f"{os.cpu_count()} cores, {platform.system()}, Python "
            f"{platform.python_version()}",
            rows="\n".join(str(rows[key]) for key in sorted(rows)),
            rest=mark + rest,
        )
    )


class Row(NamedTuple):
    """What one soak measured."""

    words: str
    profile: str
    when: str
    seconds: str
    figures: str

    @property
    def key(self) -> tuple[str, str]:
        return self.words, self.profile

    def __str__(self) -> str:
        return f"| {' | '.join(self)} |"

    @classmethod
    def read(cls, line: str) -> Row | None:
        """The row that stands in ``line``, if one does."""
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        is_row = line.startswith("| ") and len(cells) == len(cls._fields)
        return cls(*cells) if is_row and cells[0] != "soak" else None


def _passed(session: pytest.Session) -> Iterator[pytest.TestReport]:
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = terminal.stats.get("passed", ()) if terminal else ()
    return (report for report in reports if report.nodeid.startswith(_SOAKS))


def _row(report: pytest.TestReport) -> Row:
    name, _, profile = report.nodeid.split("::")[1].rstrip("]").partition("[")
    words = name.removeprefix("test_").replace("_", " ")
    figures = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.user_properties)
    when = f"{datetime.now(UTC):%Y-%m-%d}, ray {version('ray')}"
    return Row(words, profile, when, f"{report.duration:.0f}", figures)
