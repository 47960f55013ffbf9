"""The dashboard's page is found among the ports of its process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from deployments.launch.dashboard import dashboard_of


class Answers(BaseHTTPRequestHandler):
    kind = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", self.kind)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on the console."""


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Where metrics are, and where the page is."""
    with ExitStack() as stack:
        found = []
        for kind in ("text/plain; version=0.0.4", "text/html; charset=utf-8"):
            handler = type("Handler", (Answers,), {"kind": kind})
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            found.append(server.server_address[1])
        yield found[0], found[1]


def process(command: str, *ports: int) -> psutil.Process:
    """One of the family, as psutil shows it."""
    listening = [
        SimpleNamespace(laddr=SimpleNamespace(port=port), status=psutil.CONN_LISTEN)
        for port in ports
    ]
    shown = SimpleNamespace(
        cmdline=lambda: ["python", command], net_connections=lambda _: list[Any](listening)
    )
    return cast(psutil.Process, shown)


def test_the_port_that_answers_in_html_is_the_pages(ports: tuple[int, int]) -> None:
    metrics, page = ports
    family = [process("raylet", page), process("x/ray/dashboard/dashboard.py", metrics, page)]
    assert dashboard_of(family) == f"http://127.0.0.1:{page}/"


def test_where_no_page_answers_there_is_none(ports: tuple[int, int]) -> None:
    metrics, page = ports
    nobody_listens = 1
    dashboard = process("x/ray/dashboard/dashboard.py", metrics, nobody_listens)
    assert dashboard_of([dashboard, process("raylet", page)]) is None
