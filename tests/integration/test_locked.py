"""Ray's own ports are locked: who has no token runs nothing, who has it uses Serve's commands."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deployments.launch.dashboard import dashboard_of
from tests.integration import strangers_scan
from tests.serve_app import ServeApp

BIN = Path(sys.executable).parent

DRIVER = """
import sys, ray
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
print("ran as", ray.get(ray.remote(__import__("getpass").getuser).remote()))
"""


def cluster_of(app: ServeApp) -> str:
    """The GCS's address, as the raylet is told it."""
    words = (word for process in app.server.family for word in command_line(process))
    addresses = [word.partition("=")[2] for word in words if word.startswith("--gcs-address=")]
    assert addresses, "no process is told of the GCS"
    return addresses[0]


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none where it has ended."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def drive(app: ServeApp, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Connect as a driver and run a task; the environment says with which token."""
    command = [sys.executable, "-c", DRIVER, cluster_of(app)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=90)


@pytest.mark.integration
@pytest.mark.parametrize("lie", ["disabled", "another token"])
def test_a_driver_without_the_token_is_refused(server: ServeApp, tmp_path: Path, lie: str) -> None:
    other = tmp_path / "token"
    other.write_text("0" * 64)
    env = {**server.env, "RAY_AUTH_TOKEN_PATH": str(other)}
    if lie == "disabled":
        env["RAY_AUTH_MODE"] = "disabled"
    done = drive(server, env)
    assert done.returncode != 0
    assert "ran as" not in done.stdout


@pytest.mark.integration
def test_a_driver_with_the_token_is_let_in(server: ServeApp) -> None:
    done = drive(server, server.env)
    assert "ran as" in done.stdout, done.stderr[-2000:]


@pytest.mark.integration
def test_serves_own_commands_take_the_token(server: ServeApp) -> None:
    dashboard = dashboard_of(server.server.family)
    assert dashboard is not None
    command = [str(BIN / "serve"), "status", "-a", dashboard.rstrip("/")]
    done = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=60)
    assert "status: RUNNING" in done.stdout, done.stderr[-2000:]


@pytest.mark.integration
def test_the_dashboards_interface_wants_the_token(server: ServeApp) -> None:
    dashboard = dashboard_of(server.server.family)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{dashboard}api/serve/applications/", timeout=10)
    with refused.value as answer:  # an open response, too
        assert answer.code == 401


@pytest.mark.integration
def test_the_token_is_for_its_user_alone(server: ServeApp) -> None:
    token = (server.scratch / "token").read_text()
    assert token not in server.log()
    assert not any(token in " ".join(command_line(p)) for p in server.server.family)


@pytest.mark.integration
def test_on_the_default_profile_too_strangers_are_refused_everywhere(server: ServeApp) -> None:
    doors = list(strangers_scan.open_doors(server.server.family))
    assert [(door, answer) for door in doors if (answer := strangers_scan.let_in(door))] == []
