"""The servers that clients connect to do what the yaml says, whoever started them, and when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_app import BARE, DEPLOYED, HEARTBEAT_S
from tests.faults.raw_client import ConnectionEnded, RawClient
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

RUDE, AT_ONCE = 200, 8
RESTART_S = 90.0


def pings_s(app: ServeApp) -> float:
    """What passes between two pings, for a new client."""
    with RawClient(app.port) as client:
        return client.between_pings_s()


def test_pings_come_as_the_yaml_says(app: ServeApp) -> None:
    assert pings_s(app) == pytest.approx(HEARTBEAT_S, abs=0.5)


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


@pytest.mark.parametrize("app", ["default", BARE, DEPLOYED], indirect=True)
def test_a_proxy_that_comes_late_is_equipped_too(app: ServeApp, books: Books) -> None:
    """After it died, as on a node that joins: its name is there before it listens."""
    before = app.proxies()
    for proxy in before:
        proxy.kill()
    psutil.wait_procs(before, timeout=10)
    wait_until(lambda: is_there(app), "a new proxy serves", RESTART_S)
    assert pings_s(app) == pytest.approx(HEARTBEAT_S, abs=0.5)
    assert not {p.pid for p in before} & {p.pid for p in app.proxies()}
    Books(app)


def is_there(app: ServeApp) -> bool:
    """Whether a client is let in; the first that is has a proxy that has just begun to listen."""
    with suppress(ConnectionEnded, ConnectionError, AssertionError), RawClient(app.port):
        return True
    return False
