"""A minute of clients that send and never read, with the deadlines of a production server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ingress.door.transport import WINDOW_BYTES
from tests.faults.books import Books
from tests.faults.crowd import Crowd, Memory, ceiling_bytes, sockets_return
from tests.faults.fault_app import BARE, MAKE_RUN
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

CROWD = 20
WARM_S, DURATION_S = 20.0, 60.0


def one_mode(args: Any) -> None:
    args["pools"][0]["modes"] = ["person"]
    # What is not read must not pass for silence: the bound is to come from backpressure.
    args["ingress"]["keepalive"] = {"heartbeat_s": 30, "timeout_s": 30}


@pytest.fixture(scope="module", params=(*MAKE_RUN, BARE))
def app(request: pytest.FixtureRequest) -> Iterator[ServeApp]:
    with serve_app(request.param, one_mode) as running:
        yield running


def test_a_minute_of_readers_that_never_read_stays_below_the_ceiling(
    app: ServeApp, record_property: Callable[[str, object], None]
) -> None:
    memory = Memory(app)
    with sockets_return(app), Crowd(app, CROWD, jpeg(astronaut())) as crowd:
        early = crowd.stream(WARM_S, memory)
        grown = crowd.stream(DURATION_S - WARM_S, memory)
    record_property("MiB_grown", grown >> 20)
    record_property("MiB_of_these_after_20_s", grown - early >> 20)
    record_property("connections", crowd.connections)
    record_property("MiB_ceiling", CROWD * ceiling_bytes(app) >> 20)
    assert grown < CROWD * ceiling_bytes(app)
    # The first seconds fill arenas and buffers; from then on only what waits may vary.
    assert grown - early < CROWD * 4 * WINDOW_BYTES
    Books(app).no_stumble()
