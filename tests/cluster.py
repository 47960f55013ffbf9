"""A plain Ray cluster, and the application on it: ``ray start --head``, then ``serve deploy``.

As on a cluster of an operator's own: nothing of ours is in its environment, and whatever equips
Serve there came with the deploy. It has the repository for its working directory, so that its
workers can import the tests' applications too. ``--block`` keeps its processes below one of ours,
and that is how it is stopped: `ray stop` would end every cluster of the machine.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from deployments.launch.configuration import ROOT
from deployments.launch.ports import free_port

_BIN = Path(sys.executable).parent
_STARTED = "Ray runtime started"
_START_S = 60.0
_READY_S = 180.0
_COMMAND_S = 90.0
_SHUTDOWN_S = 60.0
_STOP_S = 30.0
_LOOK_EVERY_S = 0.2


class Cluster:
    """``ray start --head`` with ports and a folder of its own, and every process that it starts."""

    def __init__(self, config: Path, env: Mapping[str, str], output: IO[bytes]) -> None:
        self._config = config
        self._env = dict(env)
        self._dashboard_port = free_port()
        self._console = Path(output.name)
        options = {
            "port": free_port(),
            "ray-client-server-port": free_port(),
            "dashboard-port": self._dashboard_port,
            "dashboard-agent-listen-port": free_port(),
            "temp-dir": config.parent / "ray",
        }
        self._process = subprocess.Popen(
            [
                _BIN / "ray",
                "start",
                "--head",
                "--block",
                *(f"--{k}={v}" for k, v in options.items()),
            ],
            cwd=ROOT,
            env=self._env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._family: set[psutil.Process] = set()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self, url: str) -> bool:
        """Deploy, and poll ``url``; False where the cluster ended before, or it took too long."""
        if not self._wait(self._started, _START_S):
            return False
        self.serve("deploy", str(self._config))
        return self._wait(lambda: _answers(url), _READY_S)

    def serve(self, command: str, *words: str) -> None:
        """Run one of Serve's own commands on this cluster."""
        address = f"http://127.0.0.1:{self._dashboard_port}"
        done = subprocess.run(
            [_BIN / "serve", command, "--address", address, *words],
            env=self._env,
            timeout=_COMMAND_S,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def stop(self) -> None:
        """What an operator does: Serve is shut down, its clients told, and then Ray."""
        if self.running:
            self.serve("shutdown", "--yes")  # which asks for it and does not wait
            self._wait(lambda: not any(map(_is_controller, self.family)), _SHUTDOWN_S)
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        for process in self._family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def family(self) -> set[psutil.Process]:
        """Every process below ours that was seen."""
        self._note_family()
        return self._family

    def _note_family(self) -> None:
        """Remember the processes below ours: their parent may end before they do."""
        with suppress(psutil.NoSuchProcess):
            self._family.update(psutil.Process(self._process.pid).children(recursive=True))

    def _started(self) -> bool:
        return _STARTED in self._console.read_text(errors="replace")

    def _wait(self, met: Callable[[], bool], patience_s: float) -> bool:
        """Look until ``met``; False where the cluster ended before, or it took longer."""
        deadline = time.monotonic() + patience_s
        while self.running and time.monotonic() < deadline:
            self._note_family()
            if met():
                return True
            time.sleep(_LOOK_EVERY_S)
        return False


def _answers(url: str) -> bool:
    with (
        suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(url, timeout=2) as response,
    ):
        return bool(response.status == 200)
    return False


def _is_controller(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and "ray::ServeController" in process.cmdline()[0]
    return False
