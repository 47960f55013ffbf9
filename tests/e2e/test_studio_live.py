"""The page against the real application, with a camera: what a new user sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Visit
from tests.serve_app import ServeApp

pytestmark = pytest.mark.e2e

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
GREEN = (0, 177, 64)  # what `replace` puts behind a person unless told otherwise
STEADY = 30


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_the_camera_is_segmented_at_a_steady_rate(
    server: ServeApp, visit: Callable[..., Visit]
) -> None:
    page = visit(f"{server.http}?source=camera&autostart=1&viz=replace&draw=server")
    page.wait_for_data("state", "live")
    for _ in range(3):
        page.wait_for_results(STEADY)
    ARTIFACTS.mkdir(exist_ok=True)
    page.page.screenshot(path=ARTIFACTS / "studio-camera.png")
    assert distance(page.pixel(0.02, 0.02), GREEN) < 40, "the background is not replaced"
    assert distance(page.pixel(0.45, 0.8), GREEN) > 80, "the person is replaced as well"
    assert page.console_errors == []
    assert page.hosts == {"127.0.0.1"}


@pytest.mark.parametrize("mode", ["person-wide", "parts"])
def test_a_mode_chosen_on_the_page_is_served(
    server: ServeApp, visit: Callable[..., Visit], mode: str
) -> None:
    page = visit(f"{server.http}?source=sample&autostart=1&mode={mode}&draw=browser")
    page.wait_for_data("mode", mode)
    page.wait_for_results(STEADY)
    assert page.console_errors == []
