"""One real application per profile, with deadlines of a second or two.

Each is stopped before the next is started, and tests of this folder run first, so
that the application of the other tests is not there at the same time. What runs
before them all costs nothing; a test of redeploys or shutdowns starts its own with
``fault_app``.

A third application is a bare ``serve run``: Serve knows nothing of ours but the yaml. There run
the tests that are marked ``bare``: those in which uvicorn's own options, its WebSocket or Serve's
proxy would do otherwise, had the application not equipped them. What a session does by itself is
the same behind the same proxy, and is tested on ``default``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.books import Books
from tests.faults.fault_app import BARE, PROFILES, fault_app
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "app" in metafunc.fixturenames and "app" not in chosen:
        profiles = (*PROFILES, BARE) if metafunc.definition.get_closest_marker(BARE) else PROFILES
        metafunc.parametrize("app", profiles, indirect=True, scope="session")


@pytest.fixture(scope="session")
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
