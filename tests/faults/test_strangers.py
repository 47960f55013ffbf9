"""Headers by which a stranger would give orders to Serve, on every profile."""

from __future__ import annotations

import http.client
import json
import time

import pytest

from tests.faults.books import Books
from tests.faults.raw_client import RawClient, Seen
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

ORDERS = (
    "x-request-timeout-seconds: 1",
    "x-request-disconnect-disabled: ?1",
    "x-request-id: of my own",
    "x-session-id: mine",
    "serve_multiplexed_model_id: mine",
    "x-serve-router-replica: mine",
)
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


def test_serve_takes_no_orders_from_a_client(app: ServeApp, books: Books) -> None:
    with RawClient(app.port, "v1", headers=ORDERS) as client:
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5:  # it asked for a second
            assert client.next_message()["type"] == "ping"
            client.pong()
        client.close(1000)
        assert client.end() == Seen(1000)
    books.one("client_close", 1000)


def test_a_client_that_asks_not_to_be_watched_is_watched(app: ServeApp, books: Books) -> None:
    RawClient(app.port, headers=ORDERS).rst()
    books.one("connection_lost", 1005)


@pytest.mark.parametrize("path", ["/api/modes", "/ws"])
def test_a_header_that_serve_cannot_read_is_refused(app: ServeApp, books: Books, path: str) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
    headers: dict[str, str | bytes] = {**HANDSHAKE} if path == "/ws" else {}
    headers["x-request-id"] = b"\xff"
    asked.request("GET", path, headers=headers)
    with asked.getresponse() as answer:
        assert answer.status == 400
        message = json.load(answer)["error"]["message"]
    asked.close()
    assert message.startswith("the value of the header x-request-id is not UTF-8")
    books.no_stumble()


def test_an_id_of_a_strangers_is_not_the_requests(app: ServeApp) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
    asked.request("GET", "/api/modes", headers={"x-request-id": "of my own"})
    with asked.getresponse() as answer:
        assert answer.status == 200
        assert answer.getheader("x-request-id") != "of my own"
    asked.close()
