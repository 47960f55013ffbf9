"""The report says what a run measured, on the page and in its files, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import BEGIN, END, tables, write
from tests.benchmarks.measured import overload, run


def test_every_server_has_a_row_for_each_number_of_clients() -> None:
    said = tables(run())
    assert "| SegStream, v1 mask | 1 | 90 | 0.30 |" in said
    assert "| SegStream, v1 mask | 16 | 270 | 0.90 |" in said
    assert "| The original 1 | 16 | 30 | 0.10 | 10.0 | 400.0 | 5.2 | 39.0 | 80.0 |" in said


def test_what_could_not_be_measured_is_named_with_its_reason() -> None:
    assert "| mosec | | not measured: no wheel for this machine |" in tables(run())


def test_the_cpu_is_told_by_kind_of_process() -> None:
    assert "| segmenter | 5.00 | 5.00 | 5.00 |" in tables(run())


def test_a_frame_is_its_stages_and_what_they_leave_over() -> None:
    assert "| threads and the rest | 1.40 |\n| one frame | 6.00 |" in tables(run())


def test_a_run_of_nothing_has_its_first_line_alone() -> None:
    empty = run(rounds=[{}], peers={}, unavailable={})
    assert tables(empty).splitlines() == [
        "today, 2 cores (a processor), Linux, Python 3.11, ray 2.60.0; 1 rounds in 0 minutes."
    ]


def test_the_overload_is_told_beside_that_of_peers() -> None:
    both = overload()
    both["fastapi_pool"] = {**both["ours"], "fps": 100.0, "drops": {}}
    said = tables(run(overload=both))
    assert "### Overload: 2 cameras of 30 frames/s" in said
    assert "| ours | 1000 | 200 | 60 | 150 | 108 | superseded 3 | 880 to 920 |" in said
    assert "| fastapi_pool | 1000 | 100 | 60 | 150 | 108 | none | 880 to 920 |" in said


def test_replicas_have_their_table() -> None:
    point = run()["rounds"][0]["served"]["v1 mask"]["16"]
    said = tables(run(scaling={"1 ingress, 2 segmenter": {"16": point}}))
    assert "| 1 ingress, 2 segmenter | 16 | 240 | 0.80 | 20 |" in said


@pytest.mark.parametrize("readme", [True, False])
def test_the_files_are_the_figures_the_plot_and_the_tables_of_the_page(
    tmp_path: Path, readme: bool
) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(run(), tmp_path, readme=readme)
    assert json.loads((tmp_path / "results.json").read_text()) == run()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    text = tables(run()) if readme else "old"
    gap = "\n\n" if readme else "\n"
    assert page.read_text() == f"before\n{BEGIN}{gap}{text}{gap}{END}\nafter\n"
