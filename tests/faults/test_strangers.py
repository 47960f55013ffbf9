"""Headers by which a stranger would give orders to Serve, on every profile."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from contextlib import ExitStack

import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_app import OPERATOR, UNGREETED_PER_ADDRESS
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


class Sessions:
    """What the operator sees of the connected clients."""

    def __init__(self, app: ServeApp) -> None:
        self._app = app

    def addresses(self) -> set[str | None]:
        request = urllib.request.Request(f"{self._app.http}api/sessions")
        request.add_header("authorization", f"Bearer {OPERATOR}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return {row["address"] for row in json.load(answer)["sessions"]}


def test_the_address_is_the_trusted_proxys_word_and_no_strangers(app: ServeApp) -> None:
    """Whoever comes from loopback is a proxy of this machine; our own header is HAProxy's alone."""
    sessions = Sessions(app)
    forwarded = "x-forwarded-for: 203.0.113.9, 198.51.100.7"
    spoofed = "x-segstream-peer: 203.0.113.9"

    def seen(*headers: str) -> set[str | None]:
        with RawClient(app.port, headers=headers):
            return sessions.addresses()

    wait_until(lambda: seen(forwarded) == {"198.51.100.7"}, "the proxy's word counts")
    assert seen(spoofed) == {None}, "loopback, whatever it says"
    assert seen(spoofed, forwarded) == {"198.51.100.7"}


def test_who_comes_too_often_is_refused_before_the_handshake(app: ServeApp) -> None:
    """One address has so many sockets without a hello; another has its own."""
    crowded = "x-forwarded-for: 198.51.100.1"
    with ExitStack() as crowd:
        for _ in range(UNGREETED_PER_ADDRESS):
            crowd.enter_context(RawClient(app.port, "v1", greet=False, headers=(crowded,)))
        for header, status in ((crowded, 429), ("x-forwarded-for: 198.51.100.2", 101)):
            name, _, value = header.partition(": ")
            asked = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
            protocol = {"Sec-WebSocket-Protocol": "segstream.v1"}
            asked.request("GET", "/ws", headers={**HANDSHAKE, **protocol, name: value})
            with asked.getresponse() as answer:
                assert answer.status == status
                if status == 429:
                    assert answer.getheader("retry-after") == "5"
                    assert json.load(answer)["error"]["code"] == "RATE_LIMITED"
            asked.close()


def test_a_page_of_another_origin_and_a_strange_name_are_403(app: ServeApp) -> None:
    for headers, words in (
        ({"Origin": "https://evil.example"}, "allowed_origins"),
        ({"Host": "evil.example"}, "ingress.admission.hosts"),
    ):
        asked = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)
        asked.request("GET", "/ws", headers={**HANDSHAKE, **headers})
        with asked.getresponse() as answer:
            assert answer.status == 403
            assert words in json.load(answer)["error"]["message"]
        asked.close()
