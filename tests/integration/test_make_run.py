"""What ``make run`` starts: what it says, what it opens, and that nothing of it stays.

These run in order, on one start; the last one is its end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import pytest
from websockets.sync.client import connect

from deployments.launch.configuration import ROOT
from deployments.launch.console import FILE
from deployments.launch.ports import free_port
from tests.integration import strangers_scan

pytestmark = pytest.mark.integration

START_S, STOP_S = 200.0, 60.0
MOST_LINES = 12


@dataclass(slots=True)
class Run:
    """A start by the command that ``make run`` is; its console, as lines come."""

    process: subprocess.Popen[str]
    port: int
    lines: list[str]

    def wait_for(self, words: str, within_s: float) -> str:
        deadline = time.monotonic() + within_s
        while not (found := [line for line in self.lines if words in line]):
            assert time.monotonic() < deadline, f"no {words!r} in\n" + "\n".join(self.lines)
            assert self.process.poll() is None or found, "\n".join(self.lines)
            time.sleep(0.1)
        return found[0]

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    @property
    def logs(self) -> Path:
        (folder,) = re.findall(r"logs: (\S+);", "\n".join(self.lines))
        return Path(folder)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    port = free_port()
    # Ray's sockets are in here, and a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="seg") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.launch", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "RAY_TMPDIR": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_ctrl_c_counts,
        )
        assert process.stdout
        started = Run(process, port, [])
        reader = threading.Thread(target=_read, args=(process.stdout, started.lines.append))
        reader.start()
        try:
            yield started
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(STOP_S)
            reader.join()


def _ctrl_c_counts() -> None:
    """In the child: a shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _read(stream: IO[str], take: Callable[[str], object]) -> None:
    with stream:
        for line in stream:
            take(line.rstrip())


@pytest.mark.timeout(START_S + 60)
def test_a_start_says_what_a_person_wants_and_no_more(run: Run) -> None:
    run.wait_for("logs: ", START_S)
    assert len(run.lines) <= MOST_LINES, "\n".join(run.lines)
    said = "\n".join(run.lines)
    for words in (
        "starting with the fast profile",
        f"ready: http://localhost:{run.port}/",
        f"metrics: http://localhost:{run.port}/metrics",
        "dashboard: http://127.0.0.1:",
        "token in ",
    ):
        assert words in said
    assert (run.logs.parent / FILE).read_text().count("\n") > 2 * MOST_LINES, "Ray's own is there"
    assert list(run.logs.glob("replica_segstream_ingress_*.log"))


def test_a_session_that_ended_is_one_line_here(run: Run) -> None:
    before = len(run.lines)
    with connect(f"ws://127.0.0.1:{run.port}/ws") as socket:
        socket.recv()
    line = run.wait_for("ended: client_close by client", 20)
    assert re.fullmatch(r"INFO [\d:]{8} segstream_ingress \S+ -- session \S+ ended: .*", line)
    assert run.lines[before:] == [line]


def test_whoever_comes_from_the_network_is_refused_everywhere(run: Run) -> None:
    assert strangers_scan.network_addresses(), "this machine has no network to be reached from"
    assert len(strangers_scan.methods()) > 100
    doors = list(strangers_scan.open_doors(run.family()))
    assert [(door, answer) for door in doors if (answer := strangers_scan.let_in(door))] == []
    # HAProxy's, ours, Ray's: nothing but the ports between replicas is to be reached at all.
    assert {door.owner.split()[0] for door in doors} <= {
        f"ray::ServeReplica:segstream:{name}"
        for name in ("ingress", "segmenter-main", "stats", "session-store")
    }


def test_ctrl_c_ends_with_a_line_that_nothing_is_left(run: Run) -> None:
    before, family = len(run.lines), run.family()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(STOP_S) == 0
    run.wait_for("nothing is left running", 5)
    assert any(line.startswith("segstream: stopping: ") for line in run.lines[before:])
    assert run.lines[-1] == "segstream: stopped: nothing is left running"
    assert not re.search(r"ERROR|Error|Traceback", "\n".join(run.lines))
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
