"""One real application per profile, with deadlines of a second or two.

Each is stopped before the next is started, and tests of this folder run first, so
that the application of the other tests is not there at the same time. What runs
before them all costs nothing; a test of redeploys or shutdowns starts its own with
``fault_app``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.books import Books
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp, serve_app

PROFILES = ("default", "fast")
MAX_SESSIONS = 24
HEARTBEAT_S = TIMEOUT_S = 1.0
SEND_TIMEOUT_S = 2.5
MAX_MESSAGE_BYTES = 16 * 2**20


def shortened(args: Any) -> None:
    """Deadlines of a second or two; two modes of one cheap network family."""
    args["pools"][0]["modes"] = ["person", "person-wide"]
    args["ingress"] = {
        "keepalive": {"heartbeat_s": HEARTBEAT_S, "timeout_s": TIMEOUT_S},
        "limits": {
            "hello_timeout_s": 1.5,
            "idle_timeout_s": 5,
            "credit_timeout_s": 2.5,
            "send_timeout_s": SEND_TIMEOUT_S,
            "close_timeout_s": 1,
            "max_bad_messages": 20,
            "max_message_bytes": MAX_MESSAGE_BYTES,
        },
        "admission": {"max_sessions": MAX_SESSIONS},
    }


def fault_app(profile: str) -> AbstractContextManager[ServeApp]:
    """The application with short deadlines and the planted bug."""
    return serve_app(profile, shortened, import_path="tests.faults.planted:build")


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
    items.sort(key=lambda item: here not in item.path.parents)  # stable: all else stays
