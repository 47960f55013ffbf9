"""The report of ``make soak``: what each soak measured, written to docs/soak.md if all passed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from deployments.launch.configuration import ROOT

REPORT = ROOT / "docs" / "soak.md"
_HERE = Path(__file__).parent
_FUZZ = _HERE.parent / "fuzz" / "test_soak.py"

_SOAKS = ("tests/soak/", "tests/fuzz/test_soak.py")

_PAGE = """\
# What the soaks measured
Written by `make soak` when all of them pass; `tests/soak` and `tests/fuzz` say what each one
asserts.

{when}, {machine}, {versions}.

| soak | profile or door | seconds | figures |
|---|---|---|---|
{rows}
"""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the report, of a run of all soaks that passed."""
    reports = list(_passed(session))
    ran = {session.config.rootpath / report.fspath for report in reports}
    if exitstatus != 0 or ran != {*_HERE.glob("test_*.py"), _FUZZ}:
        return
    names = ("ray", "uvicorn", "websockets")
    REPORT.write_text(
        _PAGE.format(
            when=f"{datetime.now(UTC):%Y-%m-%d}",
            machine=f"{os.cpu_count()} cores, {platform.system()}, Python "
            f"{platform.python_version()}",
            versions=", ".join(f"{name} {version(name)}" for name in names),
            rows="\n".join(_row(report) for report in reports),
        )
    )


def _passed(session: pytest.Session) -> Iterator[pytest.TestReport]:
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = terminal.stats.get("passed", ()) if terminal else ()
    return (report for report in reports if report.nodeid.startswith(_SOAKS))


def _row(report: pytest.TestReport) -> str:
    name, _, profile = report.nodeid.split("::")[1].rstrip("]").partition("[")
    words = name.removeprefix("test_").replace("_", " ")
    figures = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in report.user_properties)
    return f"| {words} | {profile} | {report.duration:.0f} | {figures} |"
