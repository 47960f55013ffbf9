"""Clients that send and never read, and what they cost the server."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import psutil
import yaml

from deployments.args import AppArgs
from tests.faults.books import wait_until
from tests.faults.raw_client import ConnectionEnded, RawClient
from tests.serve_app import ServeApp

RECEIVE_BUFFER = 4096
_VIEW: dict[str, object] = {"output": "overlay", "format": "png"}
_PACE_S = 0.02


def ceiling_bytes(app: ServeApp) -> int:
    """What the settings of ``app`` allow one session."""
    content = yaml.safe_load((app.scratch / "serve.yaml").read_text())
    args = AppArgs.model_validate(content["applications"][0]["args"])
    return args.ingress.limits.ceiling_bytes


@contextmanager
def sockets_return(app: ServeApp) -> Iterator[None]:
    """Afterwards no process of the server has more TCP sockets than it had before."""
    before = _sockets(app)
    yield
    wait_until(lambda: _sockets(app) <= before, "the sockets are gone", 60)


def _sockets(app: ServeApp) -> Counter[int]:
    """Sockets by pid, but those between two of Ray's own processes.

    Ray makes some of these late and keeps them. All else counts: clients, HAProxy to the
    replica, and what has no other end any more.
    """
    links: list[tuple[int, int, int]] = []
    rays: set[int] = set()  # the ports at Ray's ends
    for process in app.server.family:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            ends = [link for link in process.net_connections("tcp") if link.raddr]
            links += [(process.pid, link.laddr.port, link.raddr.port) for link in ends]
            if process.name() != "haproxy":
                rays |= {link.laddr.port for link in ends}
    return Counter(pid for pid, here, there in links if not {here, there} <= rays)


class Memory:
    """What all processes of the server hold, against what they held at first."""

    def __init__(self, app: ServeApp) -> None:
        self._app = app
        self._first = self._held()

    def grown(self) -> int:
        """Bytes, of their own and shared ones counted once."""
        return self._held() - self._first

    def _held(self) -> int:
        total = 0
        for process in self._app.server.family:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
        return total


class Crowd:
    """``size`` stalled readers, v1 and plain by turns; one that is let go comes again."""

    def __init__(self, app: ServeApp, size: int, picture: bytes) -> None:
        self._app = app
        self._picture = picture
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(("v1", "plain")[i % 2],), daemon=True)
            for i in range(size)
        ]
        self.connections = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def stream(self, duration_s: float, memory: Memory) -> int:
        """Let them for that long; returns the most that the server grew meanwhile."""
        deadline, most = time.monotonic() + duration_s, 0
        while not self._over.wait(0.5) and time.monotonic() < deadline:
            most = max(most, memory.grown())
        return most

    def _live(self, dialect: str) -> None:
        while not self._over.is_set():
            with (
                suppress(ConnectionEnded, ConnectionError, TimeoutError, AssertionError),
                RawClient(self._app.port, dialect, receive_buffer=RECEIVE_BUFFER) as client,
            ):
                self.connections += 1
                client.say({"type": "update_viz", "settings": _VIEW})
                while not self._over.wait(_PACE_S):
                    client.frame(self._picture)
                    client.pong()
