"""The servers that clients connect to do what the yaml says, whoever started them, and when."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil
import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_app import BARE, HEARTBEAT_S, shortened
from tests.faults.raw_client import PING, PONG, ConnectionEnded, RawClient
from tests.serve_app import ServeApp, serve_app

pytestmark = pytest.mark.integration

RUDE, AT_ONCE = 200, 8
RESTART_S = 90.0
LONGER_S = 2.0


def between_pings_s(app: ServeApp) -> float:
    """What a new plain client sees between two pings of the server's."""
    with RawClient(app.port) as client:
        seen: list[float] = []
        while len(seen) < 2:
            opcode, payload = client.read()
            if opcode == PING:
                seen.append(time.monotonic())
                client.send(PONG, payload)
        return seen[1] - seen[0]


def proxies(app: ServeApp) -> list[psutil.Process]:
    found = [p for p in app.server.family if p.is_running()]
    return [p for p in found if "ProxyActor" in "".join(p.cmdline()[:1])]


@pytest.mark.bare
def test_pings_come_as_the_yaml_says(app: ServeApp) -> None:
    assert between_pings_s(app) == pytest.approx(HEARTBEAT_S, abs=0.5)


@pytest.mark.bare
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


@pytest.mark.parametrize("app", ["default", BARE], indirect=True)
def test_a_proxy_that_comes_late_is_equipped_too(app: ServeApp, books: Books) -> None:
    """After it died, as on a node that joins: its name is there before it listens."""
    before = proxies(app)
    for proxy in before:
        proxy.kill()
    psutil.wait_procs(before, timeout=10)
    wait_until(lambda: is_there(app), "a new proxy serves", RESTART_S)
    assert between_pings_s(app) == pytest.approx(HEARTBEAT_S, abs=0.5)
    assert not {p.pid for p in before} & {p.pid for p in proxies(app)}
    Books(app)


def is_there(app: ServeApp) -> bool:
    """Whether a client is let in; the first that is has a proxy that has just begun to listen."""
    with suppress(ConnectionEnded, ConnectionError, AssertionError), RawClient(app.port):
        return True
    return False


@pytest.mark.timeout(300)
def test_a_redeploy_changes_what_running_servers_say() -> None:
    def one_mode(args: Any) -> None:
        shortened(args)
        args["pools"][0]["modes"] = ["person"]
        args["ingress"]["limits"]["idle_timeout_s"] = 60

    def slower(args: Any) -> None:
        args["ingress"]["keepalive"]["heartbeat_s"] = LONGER_S

    with serve_app(BARE, one_mode) as app:
        assert between_pings_s(app) == pytest.approx(HEARTBEAT_S, abs=0.5)
        before = {p.pid for p in proxies(app)}
        app.redeploy(slower)
        wait_until(lambda: pings_are_rarer(app), "pings come more rarely", RESTART_S)
        assert {p.pid for p in proxies(app)} == before, "the same proxies"


def pings_are_rarer(app: ServeApp) -> bool:
    """Whether they are for a new client; one of the old replica's is let go meanwhile."""
    with suppress(ConnectionEnded):
        return between_pings_s(app) > LONGER_S - 0.4
    return False
