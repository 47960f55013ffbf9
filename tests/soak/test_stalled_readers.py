"""A minute of clients that send and never read, with the deadlines of a production server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.books import Books
from tests.faults.crowd import Crowd, Memory, ceiling_bytes, sockets_return
from tests.faults.fault_app import PROFILES
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

CROWD = 20
DURATION_S = 60.0


def one_mode(args: Any) -> None:
    args["pools"][0]["modes"] = ["person"]
    # What is not read must not pass for silence: the bound is to come from backpressure.
    args["ingress"]["keepalive"] = {"heartbeat_s": 30, "timeout_s": 30}


@pytest.fixture(scope="module", params=PROFILES)
def app(request: pytest.FixtureRequest) -> Iterator[ServeApp]:
    with serve_app(request.param, one_mode) as running:
        yield running


def test_a_minute_of_readers_that_never_read_stays_below_the_ceiling(
    app: ServeApp, record_property: Callable[[str, object], None]
) -> None:
    with sockets_return(app), Crowd(app, CROWD, jpeg(astronaut())) as crowd:
        grown = crowd.stream(DURATION_S, Memory(app))
    record_property("grown_mib", grown >> 20)
    assert grown < CROWD * ceiling_bytes(app)
    Books(app).no_stumble()
