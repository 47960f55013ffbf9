"""Ray's dashboard, opened as ``make run`` says, shows the deployments healthy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from deployments.launch.dashboard import dashboard_of
from tests.e2e.conftest import Visit
from tests.serve_app import ServeApp

pytestmark = pytest.mark.e2e

SHOWN_MS = 60_000
DEPLOYMENTS = ("ingress", "segmenter-main", "session-store", "stats")


def test_the_serve_page_asks_for_the_token_and_shows_the_deployments_healthy(
    server: ServeApp, visit: Callable[..., Visit]
) -> None:
    dashboard = dashboard_of(server.server.family)
    page = visit(f"{dashboard}#/serve").page
    token = page.get_by_placeholder("Enter your authentication token")
    token.fill((server.scratch / "token").read_text())
    page.get_by_role("button", name="Submit").click()
    page.goto(f"{dashboard}#/serve/applications/segstream")
    expect(page.get_by_text("RUNNING").first).to_be_visible(timeout=SHOWN_MS)
    for name in DEPLOYMENTS:
        row = page.get_by_role("row").filter(has_text=name).first
        expect(row).to_contain_text("HEALTHY", timeout=SHOWN_MS)
