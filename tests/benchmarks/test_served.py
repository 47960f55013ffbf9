"""What the processes of a server spend, told by their kind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple, cast

import psutil
import pytest

from benchmarks.served import Running, Samples, idle, is_ready, kind_of


class Times(NamedTuple):
    user: float
    system: float


class Memory(NamedTuple):
    uss: int


class FakeProcess:
    """A process that has spent two seconds a time that it is asked; or that has gone."""

    def __init__(self, *line: str, gone: bool = False) -> None:
        self._line = line
        self._gone = gone
        self._asked = 0

    def cmdline(self) -> Sequence[str]:
        return self._line

    def cpu_times(self) -> Times:
        if self._gone:
            raise psutil.NoSuchProcess(1)
        self._asked += 1
        return Times(1.5 * self._asked, 0.5 * self._asked)

    def memory_full_info(self) -> Memory:
        if self._gone:
            raise psutil.AccessDenied(1)
        return Memory(100)


def running(*processes: FakeProcess) -> Running:
    return Running("ws://127.0.0.1:9/ws", lambda: cast("list[psutil.Process]", processes))


def segmenter() -> FakeProcess:
    return FakeProcess("ray::ServeReplica:segstream:segmenter.handle_request")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (("ray::ServeReplica:segstream:segmenter",), "segmenter"),
        (("ray::ServeReplica:segstream:ingress",), "ingress"),
        (("ray::ServeReplica:segstream:store",), "other replicas"),
        (("/usr/sbin/haproxy", "-f", "/tmp/ray/haproxy.cfg"), "haproxy"),
        (("ray::ProxyActor",), "proxy"),
        (("/lib/ray/core/src/ray/raylet/raylet", "--port"), "raylet"),
        (("python", "-m", "ray.something"), "ray, other"),
        (("uvicorn", "app:app"), "server"),
        ((), "server"),
    ],
)
def test_the_first_word_that_a_command_line_has_names_its_kind(
    line: tuple[str, ...], kind: str
) -> None:
    assert kind_of(cast("psutil.Process", FakeProcess(*line))) == kind


def test_what_processes_of_one_kind_spend_and_hold_is_added_up() -> None:
    server = running(segmenter(), segmenter(), FakeProcess("uvicorn"))
    assert server.cpu_s() == {"segmenter": 4.0, "server": 2.0}
    assert server.memory_bytes() == {"segmenter": 200, "server": 100}


def test_a_process_that_has_gone_spends_and_holds_nothing() -> None:
    server = running(segmenter(), FakeProcess("uvicorn", gone=True))
    assert server.cpu_s() == {"segmenter": 2.0}
    assert server.memory_bytes() == {"segmenter": 100}


def test_of_a_real_process_it_is_what_the_system_says() -> None:
    server = Running("", lambda: [psutil.Process(os.getpid())])
    (spent,), (held,) = server.cpu_s().values(), server.memory_bytes().values()
    assert spent > 0
    assert held > 1 << 20


def test_idle_is_what_is_spent_between_two_looks() -> None:
    cores = idle(running(segmenter()), settle_s=0.0, seconds=0.01)
    assert 0 < cores["segmenter"] <= 2 / 0.01


def test_memory_is_sampled_until_the_load_is_over() -> None:
    server = running(segmenter())
    with Samples(server, every_s=60.0) as samples:
        pass  # the first look is at once, and leaving waits for no other
    assert [held for _, held in samples.taken] == [{"segmenter": 100}]
    with Samples(server, every_s=0.001) as samples:
        while len(samples.taken) < 3:
            pass
    moments = [moment for moment, _ in samples.taken]
    assert moments == sorted(moments)


@contextmanager
def answering(statuses: Mapping[str, int]) -> Iterator[str]:
    """The address of a server that answers those paths with those statuses, and others with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.get(self.path, 404))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize(
    ("statuses", "ready"),
    [
        ({"/health": 200, "/ready": 200}, True),
        ({"/health": 200, "/ready": 503}, False),
        ({"/health": 200}, True),  # an older commit: its health is its readiness
        ({"/health": 503}, False),
        ({}, False),  # Serve's proxy, before there is an application
    ],
)
def test_an_application_of_any_age_says_when_it_is_ready(
    statuses: Mapping[str, int], ready: bool
) -> None:
    with answering(statuses) as root:
        assert is_ready(root) is ready


def test_nobody_there_is_not_ready() -> None:
    with answering({}) as root:
        pass
    assert not is_ready(root)
