"""One real application per profile, with deadlines of a second or two.

Each is stopped before the next is started, and tests of this folder run first, so
that the application of the other tests is not there at the same time. What runs
before them all costs nothing; a test of redeploys or shutdowns starts its own with
``fault_app``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.books import Books
from tests.faults.fault_app import PROFILES, fault_app
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp


@pytest.fixture(scope="session", params=PROFILES)
def app(request: pytest.FixtureRequest) -> Iterator[ServeApp]:
    with fault_app(request.param) as running:
        yield running


@pytest.fixture
def books(app: ServeApp) -> Books:
    return Books(app)


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A portrait, JPEG, 512 by 512."""
    return jpeg(astronaut())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:  # the first of a profile waits for its application
            item.add_marker(pytest.mark.timeout(300))
    items.sort(key=lambda item: here not in item.path.parents)  # stable: all else stays
