"""``python -m deployments.launch``: one clear line where it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import yaml

from deployments.launch.configuration import ROOT, SERVE_YAML


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


def test_arguments_that_contradict_each_other_cost_one_line_and_start_nothing(
    tmp_path: Path,
) -> None:
    content = yaml.safe_load(SERVE_YAML.read_text())
    content["applications"][0]["args"]["ingress"]["drain"]["grace_s"] = 1
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "deployments.launch", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"segstream: {config}: applications.0.args: ingress: drain.grace_s is 1")
