"""``python -m deployments.launch``: one clear line where it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys

from deployments.launch.configuration import ROOT


def test_a_busy_port_costs_one_line_and_starts_nothing() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        command = [sys.executable, "-m", "deployments.launch", "--profile=default", "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"segstream: port {port} on 127.0.0.1 cannot be used")
