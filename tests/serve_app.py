"""One real Serve application for all integration and browser tests of a run.

It is started as an operator would, by ``serve run``, or by ``serve deploy`` onto a plain cluster
(``tests.cluster``), on a port and in a Ray temporary folder of its own, and what it says on the
console and in log files is there for tests to read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from deployments.launch import token
from deployments.launch.address import Address
from deployments.launch.configuration import SERVE_YAML
from deployments.launch.dashboard import dashboard_of
from deployments.launch.ports import free_port
from deployments.launch.profiles import environment
from deployments.launch.server import Server
from tests.cluster import Cluster

_LOGS = ("serve/*.log", "worker-*.err", "worker-*.out")


@dataclass(frozen=True, slots=True)
class ServeApp:
    """A running application: where it listens, what it said, which processes it has."""

    http: str
    ws: str
    scratch: Path
    server: Server | Cluster
    env: Mapping[str, str]

    def log(self) -> str:
        """Everything said so far, in all of ``log_files``."""
        return "\n".join(path.read_text(errors="replace") for path in self.log_files())

    def log_files(self) -> list[Path]:
        """The console, Serve's log files, and what its processes wrote past them.

        Under ``serve run`` the last is on the console too; a cluster shows it to nobody.
        """
        logs = self.scratch.glob("ray/session_2*/logs")
        files = (file for folder in logs for name in _LOGS for file in folder.glob(name))
        return [self.console, *sorted(files)]

    def ended(self, since: int = 0) -> list[str]:
        """The log lines of sessions that ended, from the replicas' own files."""
        lines = self.said().splitlines()
        return [line for line in lines if re.search(r"session \S+ ended: ", line)][since:]

    def said(self) -> str:
        """What the ingress replicas logged, from their own files."""
        files = sorted(self.scratch.glob("ray/session_2*/logs/serve/replica_*ingress*.log"))
        return "\n".join(path.read_text(errors="replace") for path in files)

    @property
    def port(self) -> int:
        port = urlsplit(self.http).port
        assert port is not None
        return port

    @property
    def console(self) -> Path:
        return self.scratch / "console.log"

    def replica(self, deployment: str) -> psutil.Process:
        """The process of a deployment that has one replica."""
        found = self.replicas(deployment)
        assert len(found) == 1, f"{len(found)} processes of {deployment}"
        return found[0]

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """The processes of a deployment."""
        title = f"ServeReplica:segstream:{deployment}"
        return [p for p in self.server.family if p.is_running() and title in "".join(p.cmdline())]

    def proxies(self) -> list[psutil.Process]:
        """The processes of Serve's proxies, the one that stands in for HAProxy among them."""
        found = [p for p in self.server.family if p.is_running()]
        return [p for p in found if "ProxyActor" in "".join(p.cmdline()[:1])]

    def get(self, path: str) -> bytes:
        """The body of an HTTP GET."""
        with urllib.request.urlopen(self.http + path, timeout=30) as response:
            body: bytes = response.read()
        return body

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples called ``name`` that carry ``labels``."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def redeploy(self, adjust: Callable[[Any], None], import_path: str | None = None) -> None:
        """Deploy as an operator would: the first configuration, its args changed by ``adjust``.

        ``import_path`` names another builder of the application.
        """
        content = yaml.safe_load((self.scratch / "serve.yaml").read_text())
        application = content["applications"][0]
        adjust(application["args"])
        application["import_path"] = import_path or application["import_path"]
        changed = self.scratch / "changed.yaml"
        changed.write_text(yaml.safe_dump(content))
        dashboard = dashboard_of(self.server.family)
        assert dashboard, "no process of the server is the dashboard"
        serve = str(Path(sys.executable).parent / "serve")
        command = [serve, "deploy", "-a", dashboard.rstrip("/"), str(changed)]
        done = subprocess.run(command, env=self.env, timeout=60, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def samples(self) -> list[Sample]:
        """Every sample of one scrape."""
        families = text_string_to_metric_families(self.get("metrics").decode())
        return [sample for family in families for sample in family.samples]


@contextmanager
def serve_app(
    profile: str,
    adjust: Callable[[dict[str, object]], None] | None = None,
    *,
    encoding: Literal["TEXT", "JSON"] = "TEXT",
    import_path: str | None = None,
    http_options: Mapping[str, object] | None = None,
    route_prefix: str = "/",
) -> Iterator[ServeApp]:
    """Start the application of configs/serve.yaml, its args changed by ``adjust``.

    ``profile`` is one of ``make run``'s, or Serve is told nothing: "bare" is ``serve run``, and
    "deployed" ``serve deploy`` onto a plain cluster. ``import_path`` names another builder of the
    application, ``http_options`` come over those of the file.
    """
    # Ray's sockets are in here, and a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="seg") as folder:
        scratch = Path(folder)
        content = yaml.safe_load(SERVE_YAML.read_text())
        content["http_options"] |= {"port": free_port(), **(http_options or {})}
        content["applications"][0]["route_prefix"] = route_prefix
        content["logging_config"]["encoding"] = encoding
        if adjust:
            adjust(content["applications"][0]["args"])
        if import_path:
            content["applications"][0]["import_path"] = import_path
        config = scratch / "serve.yaml"
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        bare = profile in ("bare", "deployed")
        env = _bare(scratch) if bare else environment(profile, scratch, config)
        env |= {"RAY_TMPDIR": folder, "RAY_DEDUP_LOGS": "0"}
        start = Cluster if profile == "deployed" else Server
        with (
            (scratch / "console.log").open("wb") as console,
            start(config, env, console) as server,
        ):
            address = Address.of(content)
            ws = f"{address.local.replace('http', 'ws', 1)}ws"
            app = ServeApp(address.local, ws, scratch, server, env)
            assert server.wait_until_ready(address.ready), app.log()[-4000:]
            yield app
        assert not psutil.wait_procs(server.family, timeout=30)[1], "processes are left"


def _bare(scratch: Path) -> dict[str, str]:
    """The environment as it is, and what keeps the cluster of a test to itself.

    A new cluster wants tokens by itself, and `serve deploy` has to be told so.
    """
    # Else Ray writes one below the user's home.
    return {**os.environ, **token.variables_of(scratch), "RAY_USAGE_STATS_ENABLED": "0"}
