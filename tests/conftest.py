"""What all tests share: the one application, and a Hypothesis that measures no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.serve_app import ServeApp, serve_app
from tests.soak_report import pytest_sessionfinish  # noqa: F401 - a hook
from tests.virtual_time import VirtualTimeLoop

_INGRESS = Path(__file__).parent / "ingress"

settings.register_profile("segstream", deadline=None)  # machines differ
settings.register_profile("soak", deadline=None, max_examples=1000, database=None)
settings.register_profile(  # rounds of a fuzzing that ends by the clock
    "fuzz",
    deadline=None,
    max_examples=500,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("segstream")


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The connection layer's tests run on virtual time, all others on the real one."""
    if item.path.is_relative_to(_INGRESS):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def server() -> Iterator[ServeApp]:
    """The application on real Ray Serve, behind the default proxy; no test may make it stumble."""
    with serve_app("default") as app:
        yield app
        assert "Traceback" not in app.log()
        assert app.metric("segstream_unhandled_exceptions_total") == 0
