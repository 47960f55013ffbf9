"""A peer runs until it is left, answers before it is measured, and leaves no process behind."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmarks.peers.process import PeerFailed, running
from benchmarks.peers.roster import Peer
from deployments.launch.ports import free_port

PEER = Peer("fake", "A fake", "fake", "http", "/predict", "pip")
SERVES = """
import sys, subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(200 if self.path == "/ready" and Handler.asked > 1 else 503)
        self.end_headers()
    def log_message(self, *_): pass
# One child of its own, and one whose parent dies at once.
subprocess.Popen(["sleep", "600"])
orphan = "import subprocess, sys; subprocess.Popen(['sleep', '600'])"
subprocess.run([sys.executable, "-c", orphan])
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program of PEER, to be written; its interpreter is this one."""
    monkeypatch.setattr("benchmarks.peers.roster.VENVS", tmp_path)
    monkeypatch.setattr("benchmarks.peers.process.ROOT", tmp_path)
    monkeypatch.setattr("benchmarks.peers.process.STOP_DEADLINE_S", 0.3)  # an orphan hears nothing
    PEER.python.parent.mkdir(parents=True)
    PEER.python.symlink_to(sys.executable)
    path = tmp_path.joinpath(*PEER.module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    return path


def session_of(root: psutil.Process) -> set[psutil.Process]:
    """Every process of the session that a peer leads."""
    family = set()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == root.pid:
                family.add(process)
    return family


def lives(process: psutil.Process) -> bool:
    """Whether it runs; one that was killed stays a zombie until init takes note of it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("ready_path", [None, "/ready"])
def test_it_is_there_once_it_answers_and_all_of_it_is_gone_afterwards(
    program: Path, ready_path: str | None
) -> None:
    program.write_text(SERVES)
    with running(replace(PEER, ready_path=ready_path), free_port()) as root:
        family = session_of(root)
        assert len(family) == 3  # the server, its child, and the orphan
        assert root in family
    assert not any(map(lives, family))


def test_one_that_ends_says_why(program: Path) -> None:
    program.write_text("raise SystemExit('no model here')")
    with (
        pytest.raises(PeerFailed, match="fake ended with 1: no model here"),
        running(PEER, free_port()),
    ):
        pass


def test_one_that_stays_silent_is_given_up(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.process.START_DEADLINE_S", 0.0)
    program.write_text("import time\nprint('loading', flush=True)\ntime.sleep(600)")
    with (
        pytest.raises(PeerFailed, match="fake was silent for 0 s"),
        running(PEER, free_port()),
    ):
        pass


def test_its_output_is_kept_and_its_scratch_is_not(program: Path) -> None:
    program.write_text(f"import os\nprint(os.environ['TMPDIR'], flush=True)\n{SERVES}")
    with running(PEER, free_port()):
        scratch = Path(PEER.log.read_text().strip())
        assert scratch.is_dir()
    assert not scratch.exists()
    assert PEER.log.read_text().strip() == str(scratch)
