"""Metrics, settings and the Python client's names change in a review, not by the way."""

from __future__ import annotations

import json

from docs import interface
from docs.shape import ROOT


def test_what_others_rely_on_is_what_is_written_down() -> None:
    written = json.loads((ROOT / "docs" / "interface.json").read_text())
    assert json.loads(json.dumps(interface.all_of_it())) == written, "run make docs"
