"""The servers that clients connect to do what the yaml says, whoever started them.

Of a proxy that comes late test_deaths tells, of one that is told otherwise test_drain.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_app import HEARTBEAT_S
from tests.faults.raw_client import RawClient
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

RUDE, AT_ONCE = 200, 8


def test_pings_come_as_the_yaml_says(app: ServeApp) -> None:
    with RawClient(app.port) as client:
        assert client.between_pings_s() == pytest.approx(HEARTBEAT_S, abs=0.5)


def test_200_rude_clients_cost_one_line_each_and_no_traceback(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    def leave(number: int) -> None:
        client = RawClient(app.port, ("plain", "v1")[number % 2])
        client.frame(picture)
        go = RawClient.rst if number % 4 < 2 else RawClient.fin
        go(client)

    with ThreadPoolExecutor(AT_ONCE) as crowd:
        list(crowd.map(leave, range(RUDE)))
    wait_until(lambda: len(books.lines()) == RUDE, "one line each", 60)
    assert all("ended: connection_lost by network" in line for line in books.lines())
    Books(app)  # all are accounted for
    books.no_stumble()
