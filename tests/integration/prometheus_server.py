"""A real Prometheus that scrapes one test server."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from deployments.launch.configuration import ROOT
from deployments.launch.ports import free_port
from tests.tools import tool

PROMETHEUS_YML = ROOT / "configs" / "prometheus.yml"
_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus, asked over its HTTP API."""

    http: str
    log: Path

    def query(self, promql: str, label: str) -> dict[str, float]:
        """The instant vector of ``promql`` by the value of ``label``."""
        query = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.http}api/v1/query?{query}", timeout=10) as response:
            answer = json.load(response)
        return {
            series["metric"].get(label, ""): float(series["value"][1])
            for series in answer["data"]["result"]
        }

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Ask until it holds; a scrape comes in its own time."""
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            try:
                if holds():
                    return
            except urllib.error.URLError:
                pass  # it has not begun to listen
            assert time.monotonic() < deadline, f"{what}\n{self.log.read_text()[-2000:]}"
            time.sleep(0.1)


@contextmanager
def prometheus(target: str, scratch: Path) -> Iterator[Prometheus]:
    """Prometheus with configs/prometheus.yml, its target and its interval made those of a test."""
    binary = tool("prometheus", package="prometheus")
    content = yaml.safe_load(PROMETHEUS_YML.read_text())
    content["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    (job,) = content["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    config, log, port = scratch / "prometheus.yml", scratch / "prometheus.log", free_port()
    config.write_text(yaml.safe_dump(content))
    command = [
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={scratch / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            yield Prometheus(f"http://127.0.0.1:{port}/", log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
