"""What all tests share: the one application, and a Hypothesis that measures no time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.serve_app import ServeApp, serve_app

settings.register_profile("segstream", deadline=None)  # machines differ
settings.load_profile("segstream")


@pytest.fixture(scope="session")
def server() -> Iterator[ServeApp]:
    """The application on real Ray Serve, behind the default proxy."""
    with serve_app("default") as app:
        yield app
