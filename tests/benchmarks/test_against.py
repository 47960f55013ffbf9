"""Another commit beside this one: turns, medians, the table."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import against
from benchmarks.plan import QUICK

BEFORE, AFTER = Path("before"), Path("after")
PLAN = replace(QUICK, rounds=3)


def round_of(share: float, idle: float = 0.1) -> dict[str, Any]:
    point = {"share": share, "cpu_ms": {"server": 5.0, "load": 0.5}, "p50_ms": 9.0, "p99_ms": 20.0}
    return {"idle": {"raylet": idle, "gcs": 0.05}, "served": {"v1 mask": {"16": point}}}


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The checkouts in the order in which they were measured; each round gains a tenth."""
    taken: list[Path] = []

    def measure(bench: object, plan: object, checkout: Path) -> dict[str, Any]:
        taken.append(checkout)
        return round_of(taken.count(checkout) / 10 + (checkout is AFTER) / 100)

    monkeypatch.setattr(against, "measure", measure)
    monkeypatch.setattr(against, "commit_of", str)
    return taken


def test_who_is_first_changes_with_each_round_and_medians_are_kept(turns: list[Path]) -> None:
    bench: Any = SimpleNamespace(say=lambda _: None)
    before, after = against.rounds(bench, PLAN, (BEFORE, AFTER))
    assert turns == [BEFORE, AFTER, AFTER, BEFORE, BEFORE, AFTER]
    assert before["served"]["v1 mask"]["16"]["share"] == pytest.approx(0.2)
    assert after["served"]["v1 mask"]["16"]["share"] == pytest.approx(0.21)


def test_the_table_has_both_in_each_cell() -> None:
    page = against.table(round_of(0.8), round_of(0.9, idle=0.2))
    assert "| v1 mask, 16 | 0.800 → 0.900 | 5.50 → 5.50 | 9.0 → 9.0 | 20.0 → 20.0 |" in page
    assert "Idle, cores: 0.150 → 0.250." in page


def test_a_checkout_is_named_by_its_commit_and_what_was_changed_in_it(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    clean = against.commit_of(tmp_path)
    assert len(clean) == 7
    (tmp_path / "file").write_text("2")
    assert against.commit_of(tmp_path) == f"{clean}-dirty"
