"""Ten minutes of fuzzing at each door."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from tests.fuzz import fuzzed, test_pictures, test_resume, test_settings, test_wire

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

SECONDS = 600.0


@pytest.mark.parametrize(
    "door", [test_wire, test_settings, test_pictures, test_resume],
    ids=["wire", "settings", "pictures", "resume"],
)  # fmt: skip
def test_whatever_comes_is_taken_or_refused_as_promised(
    door: ModuleType, record_property: Callable[[str, object], None]
) -> None:
    fuzzed.campaign(door, SECONDS)
    record_property("examples", fuzzed.examples[door.__name__])
    if door.__name__ in fuzzed.worst_ms:
        record_property("worst_ms_of_a_call", f"{fuzzed.worst_ms[door.__name__]:.1f}")
    assert fuzzed.examples[door.__name__] > 0
