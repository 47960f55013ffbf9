"""``python -m deployments.launch``: one clear line where it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deployments.launch.configuration import ROOT, SERVE_YAML


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


def test_arguments_that_contradict_each_other_cost_one_line_and_start_nothing(
    tmp_path: Path,
) -> None:
    content = yaml.safe_load(SERVE_YAML.read_text())
    content["applications"][0]["args"]["ingress"]["drain"]["grace_s"] = 1
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump(content))
    line = line_of_a_refusal(f"--config={config}")
    assert line.startswith(f"segstream: {config}: applications.0.args: ingress: drain.grace_s is 1")


@pytest.fixture
def over_tls(tmp_path: Path) -> Path:
    """A configuration with a certificate that is not there."""
    content = yaml.safe_load(SERVE_YAML.read_text())
    content["http_options"] |= {"ssl_certfile": "a.pem", "ssl_keyfile": "b.pem"}
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump(content))
    return config


def test_tls_under_the_fast_profile_is_refused(over_tls: Path) -> None:
    line = line_of_a_refusal("--profile=fast", f"--config={over_tls}")
    assert "PROFILE=fast cannot be" in line
    assert "use PROFILE=default" in line


def test_a_certificate_that_is_not_there_is_refused(over_tls: Path) -> None:
    line = line_of_a_refusal("--profile=auto", f"--config={over_tls}")
    assert "ssl_certfile a.pem" in line
