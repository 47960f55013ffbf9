"""The four scenarios of the original bug report: a send after the end, seen as RuntimeError."""

from __future__ import annotations

import time

import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_proxy import FaultProxy
from tests.faults.raw_client import RawClient, Seen
from tests.serve_app import ServeApp

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("dialect", ["plain", "v1"])]


def stream(client: RawClient, picture: bytes, frames: int) -> None:
    """Send that many frames, and wait for the first result."""
    for _ in range(frames):
        client.frame(picture)
    while client.next_message()["type"] not in ("segmentation", "result"):
        pass


def test_bug_normal_disconnect(app: ServeApp, books: Books, picture: bytes, dialect: str) -> None:
    with RawClient(app.port, dialect) as client:
        stream(client, picture, 1)
        client.close(1000)
        assert client.end() == Seen(1000)
    assert "code 1000" in books.one("client_close", 1000)


def test_bug_keepalive_timeout(app: ServeApp, books: Books, picture: bytes, dialect: str) -> None:
    with FaultProxy(app.port) as way, RawClient(way.port, dialect) as client:
        stream(client, picture, 2)
        way.blackhole()
        books.one("keepalive_timeout", 4201)


def test_bug_disconnect_in_mid_frame(
    app: ServeApp, books: Books, picture: bytes, dialect: str
) -> None:
    came = app.metric("segstream_ws_messages_total", direction="in", type="frame")
    client = RawClient(app.port, dialect)
    for _ in range(6):
        client.frame(picture)
    wait_until(
        lambda: app.metric("segstream_ws_messages_total", direction="in", type="frame") > came,
        "a frame is under way",
    )
    client.rst()
    books.one("connection_lost", 1005)


def test_bug_model_switch_during_disconnect(
    app: ServeApp, books: Books, picture: bytes, dialect: str
) -> None:
    client = RawClient(app.port, dialect)
    stream(client, picture, 2)
    for mode in ("person-wide", "person", "person-wide"):
        client.say({"type": "change_mode", "model_mode": mode})
        client.frame(picture)
    client.rst()
    books.one("connection_lost", 1005)
    ended = time.monotonic()
    with RawClient(app.port, dialect) as later:
        stream(later, picture, 1)
        later.close(1000)
        assert later.end() == Seen(1000)
    assert time.monotonic() - ended < 10, "the server goes on"
    books.no_stumble()
