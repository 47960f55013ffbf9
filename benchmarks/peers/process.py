"""A run of one peer from start to end.

It runs in a session of its own. At the end every process it left is killed by its id:
the descendants of the root, and whatever else is in its session, since a process whose
parent has died is a descendant no more.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from tempfile import TemporaryDirectory

import psutil

from benchmarks.peers.environments import clean_environment, last_line
from benchmarks.peers.roster import ROOT, Peer

START_DEADLINE_S = 90.0
STOP_DEADLINE_S = 5.0  # for an orderly end, before the kill


class PeerFailed(RuntimeError):
    """A peer ended or stayed silent before it could be measured."""


@contextmanager
def running(peer: Peer, port: int) -> Iterator[psutil.Process]:
    """The peer on 127.0.0.1, in the environment that ``environment`` made; yields its root.

    Raises:
        PeerFailed: it ended, or did not answer within ``START_DEADLINE_S``.
    """
    # Sockets and files that a killed server leaves behind go with the folder.
    with (
        TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch,
        peer.log.open("wb") as log,
    ):
        started = subprocess.Popen(
            [peer.python, "-m", peer.module, "--port", str(port)],
            cwd=ROOT,
            env={**clean_environment(), "PYTHONPATH": str(ROOT), "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_ready(peer, port, started)
            yield psutil.Process(started.pid)
        finally:
            _stop(started)


def _wait_until_ready(peer: Peer, port: int, started: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not _answers(peer, port):
        if started.poll() is not None:
            raise PeerFailed(f"{peer.name} ended with {started.returncode}: {_tail(peer)}")
        if time.monotonic() > deadline:
            raise PeerFailed(f"{peer.name} was silent for {START_DEADLINE_S:.0f} s: {_tail(peer)}")
        time.sleep(0.2)


def _answers(peer: Peer, port: int) -> bool:
    with suppress(OSError, HTTPException):
        if peer.ready_path is None:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return True
        connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
        try:
            connection.request("GET", peer.ready_path)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False


def _tail(peer: Peer) -> str:
    return last_line(peer.log.read_text(errors="replace"))


def _stop(started: subprocess.Popen[bytes]) -> None:
    # Collected before the end begins: an orphan can be found by its session alone.
    processes = _family(started.pid)
    with suppress(ProcessLookupError):
        started.terminate()
    psutil.wait_procs(processes, timeout=STOP_DEADLINE_S)
    # Again: a supervisor may have started a process while it was being stopped.
    left = {*processes, *_family(started.pid)}
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_DEADLINE_S)
    started.wait()


def _family(root_pid: int) -> set[psutil.Process]:
    """The root, its descendants, and the rest of the session that it leads."""
    family = {process for process in psutil.process_iter() if _session(process) == root_pid}
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(root_pid)
        family |= {root, *root.children(recursive=True)}
    return family


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None
