"""The application itself, started as an operator would, and what its processes spend.

CPU is told by kind of process, because that is where it can be saved: the segmenter does the
work, and everything else is the price of serving it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from deployments.launch.configuration import SERVE_YAML
from deployments.launch.ports import free_port
from deployments.launch.profiles import environment
from deployments.launch.server import Server

# The first word of these that a command line has names the kind of its process.
_KINDS = (
    ("ServeReplica:segstream:segmenter", "segmenter"),
    ("ServeReplica:segstream:ingress", "ingress"),
    ("ServeReplica:segstream", "other replicas"),
    ("haproxy", "haproxy"),
    ("ProxyActor", "proxy"),
    ("ServeController", "controller"),
    ("raylet/raylet", "raylet"),
    ("gcs_server", "gcs"),
    ("dashboard", "dashboard"),
    ("ray", "ray, other"),
)


_READY_S = 180.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server under measurement: where it listens, and its processes."""

    url: str
    family: Callable[[], Iterable[psutil.Process]]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far by kind of process."""
        spent: dict[str, float] = {}
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                kind = kind_of(process)
                spent[kind] = spent.get(kind, 0.0) + times.user + times.system
        return spent

    def memory_bytes(self) -> dict[str, int]:
        """Memory that is a process's own (USS), by kind."""
        held: dict[str, int] = {}
        for process in self.family():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                kind = kind_of(process)
                held[kind] = held.get(kind, 0) + process.memory_full_info().uss
        return held


def kind_of(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    return next((kind for word, kind in _KINDS if word in line), "server")


@contextmanager
def application(
    profile: str = "fast", adjust: Callable[[dict[str, Any]], None] = lambda args: None
) -> Iterator[Running]:
    """configs/serve.yaml, its ``args`` changed by ``adjust``, running under ``profile``."""
    with tempfile.TemporaryDirectory(prefix="seg") as folder:
        scratch = Path(folder)
        content = yaml.safe_load(SERVE_YAML.read_text())
        port = content["http_options"]["port"] = free_port()
        adjust(content["applications"][0]["args"])
        config = scratch / "serve.yaml"
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        env = {**environment(profile, scratch, config), "RAY_TMPDIR": folder}
        with (
            (scratch / "console.log").open("wb") as console,
            Server(config, env, console) as server,
        ):
            if not server.wait_until_ready(f"http://127.0.0.1:{port}/ready"):
                raise RuntimeError((scratch / "console.log").read_text(errors="replace")[-4000:])
            yield Running(f"ws://127.0.0.1:{port}/ws", lambda: set(server.family))


@contextmanager
def checkout(folder: Path) -> Iterator[Running]:
    """The application of another checkout, as its own ``deployments.launch`` starts it."""
    with tempfile.TemporaryDirectory(prefix="seg") as scratch, ExitStack() as on_exit:
        port = free_port()
        console = on_exit.enter_context((Path(scratch) / "console.log").open("wb"))
        process = on_exit.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "deployments.launch", "--profile=fast", f"--port={port}"],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(folder), "RAY_TMPDIR": scratch},
                stdout=console,
                stderr=console,
            )
        )
        on_exit.callback(process.terminate)
        root = psutil.Process(process.pid)
        _wait_until_ready(process, f"http://127.0.0.1:{port}")
        yield Running(f"ws://127.0.0.1:{port}/ws", lambda: root.children(recursive=True))


def _wait_until_ready(process: subprocess.Popen[bytes], root: str) -> None:
    deadline = time.monotonic() + _READY_S
    while not is_ready(root):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the application of the checkout did not start: {process.args!r}")
        time.sleep(0.25)


def is_ready(root: str) -> bool:
    """Whether the application there, of whatever age, can answer frames.

    Where it has no ``/ready``, its ``/health`` says that. This one is asked first: before there is
    an application, Serve's proxy knows neither.
    """
    return _status(f"{root}/health") == 200 and _status(f"{root}/ready") in (200, 404)


def _status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Samples:
    """Memory over time, sampled while a load runs: (seconds, bytes by kind)."""

    def __init__(self, server: Running, every_s: float) -> None:
        self.taken: list[tuple[float, Mapping[str, int]]] = []
        self._server = server
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Samples:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        begin = time.monotonic()
        while True:
            self.taken.append((time.monotonic() - begin, self._server.memory_bytes()))
            if self._done.wait(self._every_s):
                return


def idle(server: Running, settle_s: float, seconds: float) -> dict[str, float]:
    """Cores spent by kind of process with no client there."""
    time.sleep(settle_s)
    before, begin = server.cpu_s(), time.perf_counter()
    time.sleep(seconds)
    after, took_s = server.cpu_s(), time.perf_counter() - begin
    return {kind: (after[kind] - before.get(kind, 0.0)) / took_s for kind in after}
