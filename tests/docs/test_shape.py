"""The shape is measured right: what is counted, and which bars are passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import shape
from docs.shape import HOUSES, measured, percentile

SOURCE = '''\
"""A file."""


def short(a: int) -> int:
    """Words do not count."""
    return a


def long(a, b: int):
    try:
        return a
    except Exception:
        return b
'''


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shape, "ROOT", tmp_path)
    folder = tmp_path / "house"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "source.py").write_text(SOURCE)
    (folder / "page.js").write_text("let x;\n" * 7)
    return folder


def test_files_functions_types_and_handlers_are_counted(house: Path) -> None:
    found = measured("house")
    assert sorted(found.files) == [7, 13]
    assert found.functions == [1, 4]
    assert (found.slots, found.typed, found.broad) == (5, 3, 1)


def test_each_bar_that_is_passed_is_named(house: Path) -> None:
    (house / "endless.py").write_text("x = 1\n" * 351)
    faults = list(measured("house").faults())
    assert [fault.split(":")[0] for fault in faults] == [
        "the longest file",
        "the 90th percentile of files",
        "broad excepts per 1,000 lines",
        "2 parameters or return values have no type",
    ]


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile(range(10), share) for share in (0, 0.5, 0.9, 1)] == [0, 5, 9, 9]


@pytest.mark.parametrize("name", HOUSES)
def test_every_house_is_there(name: str) -> None:
    assert measured(name).files
