"""Peers that stop: the process, its reading, or both. Nothing of them may stay."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from deployments.launch.configuration import ROOT
from tests.faults.books import Books, wait_until
from tests.faults.crowd import Crowd, Memory, ceiling_bytes, sockets_return
from tests.faults.fault_app import HEARTBEAT_S, SEND_TIMEOUT_S, TIMEOUT_S
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

DIALECTS = ("plain", "v1")
SILENT = ("keepalive_timeout", "slow_consumer")
NOTICED_S = max(HEARTBEAT_S + TIMEOUT_S, SEND_TIMEOUT_S) + HEARTBEAT_S + 1.5  # a busy machine
CROWD = 20
CROWD_S = 15.0


@contextmanager
def victim(app: ServeApp, dialect: str, life: str) -> Iterator[psutil.Process]:
    """A client in a process of its own, connected."""
    command = [sys.executable, "-m", "tests.faults.victim", str(app.port), dialect, life]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        try:
            yield psutil.Process(child.pid)
        finally:
            child.kill()


def test_clients_that_are_stopped_are_noticed_and_let_go(app: ServeApp, books: Books) -> None:
    moved = app.metric("segstream_frames_total", outcome="result") + 10
    with ExitStack() as crowd:
        processes = [crowd.enter_context(victim(app, dialect, "streams")) for dialect in DIALECTS]
        wait_until(
            lambda: app.metric("segstream_frames_total", outcome="result") > moved, "results"
        )
        processes += [crowd.enter_context(victim(app, dialect, "talks")) for dialect in DIALECTS]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: len(books.lines()) == len(processes), "the sessions end", NOTICED_S)
        assert time.monotonic() - stopped < NOTICED_S
        assert {reason_of(line) for line in books.lines()} <= set(SILENT)
        assert all(re.search(r"code (4201|4101|1006),", line) for line in books.lines())
        # The clients are stopped still, their buffers full: the server's sockets must be gone.
        there = set().union(*map(ports, processes))
        wait_until(lambda: not serves(app, there), "the server has closed its sockets")
        Books(app)  # all are accounted for
        books.no_stumble()


def serves(app: ServeApp, clients: set[int]) -> bool:
    """Whether a process of the server has a socket to one of these ports, from its own.

    Ports alone say nothing: among themselves its processes use hundreds, and Linux gives one
    number to several connections.
    """
    return any(
        link.raddr and link.laddr.port == app.port and link.raddr.port in clients
        for process in app.server.family
        if process.is_running()
        for link in process.net_connections("tcp")
    )


def ports(process: psutil.Process) -> set[int]:
    """Local ports of a client."""
    return {c.laddr.port for c in process.net_connections("tcp")}


def test_20_readers_that_never_read_stay_below_the_ceiling(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    with sockets_return(app), Crowd(app, CROWD, picture) as crowd:
        grown = crowd.stream(CROWD_S, Memory(app))
    assert grown < CROWD * ceiling_bytes(app)
    # On a busy machine some do not get so far: no place is free yet, or hello was late.
    reasons = {reason_of(line) for line in books.lines()}
    assert reasons <= {*SILENT, "connection_lost", "overloaded", "hello_timeout"}
    Books(app)  # all are accounted for
    books.no_stumble()


def reason_of(line: str) -> str:
    return line.partition("ended: ")[2].partition(" by ")[0]
