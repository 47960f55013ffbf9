"""The command line: which plan, which parts, and which files are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.plan import QUICK, WHOLE, Plan
from benchmarks.run import PARTS
from tests.benchmarks import measured

Asked = tuple[Plan, tuple[str, ...]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What each run was asked for; it measures nothing."""
    runs: list[Asked] = []

    class FakeRun:
        def __init__(self, plan: Plan, parts: Sequence[str], scratch: Path) -> None:
            assert scratch.is_dir()
            runs.append((plan, tuple(parts)))

        def everything(self) -> dict[str, Any]:
            return measured.run()

    monkeypatch.setattr(command, "Run", FakeRun)
    return runs


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bool]]:
    """The folder of each report, and whether the page there is written too."""
    reports: list[tuple[Path, bool]] = []

    def write(figures: Mapping[str, Any], folder: Path, *, readme: bool) -> None:
        reports.append((folder, readme))

    monkeypatch.setattr("benchmarks.report.write", write)
    return reports


HERE = Path(command.__file__).parent


@pytest.mark.parametrize(
    ("arguments", "plan", "parts", "files"),
    [
        ([], WHOLE, PARTS, [(HERE, True)]),
        (["--quick"], QUICK, PARTS, []),
        (["--only", "idle", "bare"], WHOLE, ("idle", "bare"), []),
        (["--only", *PARTS], WHOLE, PARTS, [(HERE, True)]),
        (["--quick", "--out", "there"], QUICK, PARTS, [(Path("there"), False)]),
        (["--out", "there"], WHOLE, PARTS, [(Path("there"), True)]),
    ],
)
def test_the_whole_alone_writes_the_page(
    asked: list[Asked],
    written: list[tuple[Path, bool]],
    arguments: list[str],
    plan: Plan,
    parts: tuple[str, ...],
    files: list[tuple[Path, bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(arguments) == 0
    assert asked == [(plan, tuple(parts))]
    assert written == files
    assert "### What was asked, and what was measured" in capsys.readouterr().out


def test_rounds_can_be_asked_for(asked: list[Asked], written: list[tuple[Path, bool]]) -> None:
    command.main(["--quick", "--rounds", "7"])
    assert asked[0][0].rounds == 7


def test_a_part_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["--only", "everything"])
    assert caught.value.code == 2
    assert "invalid choice: 'everything'" in capsys.readouterr().err
