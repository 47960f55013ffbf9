"""One real application per way of starting it, with deadlines of a second or two.

| profile | is |
|---|---|
| ``default``, ``fast`` | ``make run``'s two |
| ``bare`` | ``serve run``: Serve knows nothing of ours but the yaml |
| ``deployed`` | ``serve deploy`` onto a plain ``ray start --head`` |

Each is stopped before the next is started, and tests of this folder run first, so that the
application of the other tests is not there at the same time. A start costs half a minute, so one
application serves all tests of its profile; those that end it come last (``test_drain``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.books import Books
from tests.faults.fault_app import PROFILES, fault_app
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp

_HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "app" in metafunc.fixturenames and "app" not in chosen:
        metafunc.parametrize("app", PROFILES, indirect=True, scope="session")


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
    for item in items:
        if _HERE in item.path.parents:  # the first of a profile waits for its application
            item.add_marker(pytest.mark.timeout(300))
    items.sort(key=_turn)  # stable: all else stays


def _turn(item: pytest.Item) -> tuple[bool, int, bool]:
    """This folder first, by profile, and of each the tests that end the application last."""
    if _HERE not in item.path.parents:
        return True, 0, False
    assert isinstance(item, pytest.Function)
    profile = item.callspec.params["app"] if hasattr(item, "callspec") else PROFILES[0]
    return False, PROFILES.index(profile), item.path.stem == "test_drain"
