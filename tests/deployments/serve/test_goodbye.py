"""Ctrl-C: the applications are deleted where the dashboard listens, and waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from deployments.serve.goodbye import delete_applications

CONFIG = {"http_options": {"port": 8000}, "applications": [{"name": "segstream"}]}


class Dashboard(ThreadingHTTPServer):
    """Serve's part of the Ray dashboard; an application takes ``looks`` GETs to go."""

    def __init__(self, looks: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.looks = looks
        self.token: str | None = None
        self.put: list[dict[str, Any]] = []


class _Answers(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        if not self._may_enter():
            return
        self.server.looks -= 1
        self._answer({"applications": {"segstream": {}} if self.server.looks >= 0 else {}})

    def do_PUT(self) -> None:
        if not self._may_enter():
            return
        length = int(self.headers["content-length"])
        self.server.put.append(json.loads(self.rfile.read(length)))
        self._answer(None)

    def _may_enter(self) -> bool:
        token = self.server.token
        allowed = token is None or self.headers["authorization"] == f"Bearer {token}"
        if not allowed:
            self.send_error(401)
        return allowed

    def _answer(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"" if body is None else json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing on the console."""


class Process:
    """A process of the family, as psutil shows it."""

    def __init__(self, command: str, *ports: int) -> None:
        self._command = command
        self._ports = ports

    def cmdline(self) -> list[str]:
        return ["python", self._command]

    def net_connections(self, kind: str) -> list[Any]:
        return [
            SimpleNamespace(laddr=SimpleNamespace(port=port), status=psutil.CONN_LISTEN)
            for port in self._ports
        ]


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with Dashboard(looks=2) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def family(*processes: Process) -> list[psutil.Process]:
    return cast(list[psutil.Process], list(processes))


def test_it_deploys_no_application_and_waits_until_all_have_gone(dashboard: Dashboard) -> None:
    port = dashboard.server_address[1]
    processes = family(Process("raylet", port), Process("x/ray/dashboard/dashboard.py", 1, port))
    assert delete_applications(processes, CONFIG, 10)
    assert dashboard.put == [{"http_options": {"port": 8000}, "applications": []}]
    assert dashboard.looks < 0


def test_a_dashboard_behind_a_token_is_shown_it(dashboard: Dashboard) -> None:
    dashboard.token = "the token"
    processes = family(Process("ray/dashboard/dashboard.py", dashboard.server_address[1]))
    assert not delete_applications(processes, CONFIG, 10)
    assert not delete_applications(processes, CONFIG, 10, "another")
    assert delete_applications(processes, CONFIG, 10, "the token")


def test_patience_has_an_end(dashboard: Dashboard) -> None:
    dashboard.looks = 10**6
    processes = family(Process("ray/dashboard/dashboard.py", dashboard.server_address[1]))
    assert not delete_applications(processes, CONFIG, 0.5)


def test_without_a_dashboard_nothing_is_done() -> None:
    assert not delete_applications(family(Process("raylet", 1)), CONFIG, 10)
