"""``python -m deployments.launch``: one clear line where it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from deployments.launch.configuration import ROOT


def line_of_a_refusal(*arguments: str) -> str:
    """What is said, to stderr alone, by a start that is none."""
    command = [sys.executable, "-m", "deployments.launch", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_busy_port_costs_one_line_and_starts_nothing() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        line = line_of_a_refusal("--profile=default", "--port", port)
    assert line.startswith(f"segstream: port {port} on 127.0.0.1 cannot be used")


def test_tls_under_the_fast_profile_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("http_options: {ssl_certfile: a.pem, ssl_keyfile: b.pem}")
    line = line_of_a_refusal("--profile=fast", f"--config={config}")
    assert "PROFILE=fast cannot be" in line
    assert "use PROFILE=default" in line


def test_a_certificate_that_is_not_there_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text("http_options: {ssl_certfile: a.pem, ssl_keyfile: b.pem}")
    line = line_of_a_refusal("--profile=auto", f"--config={config}")
    assert "ssl_certfile a.pem" in line
