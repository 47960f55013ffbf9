"""The rows of the disconnect table, one by one, however the server was started."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_app import HEARTBEAT_S, MAX_MESSAGE_BYTES, MAX_SESSIONS, TIMEOUT_S
from tests.faults.fault_proxy import FaultProxy
from tests.faults.raw_client import BINARY, TEXT, RawClient, Seen, wire
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

DIALECTS = ("plain", "v1")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("code", [1000, 1001, 4321, None])
def test_a_close_frame_of_the_client_is_answered_with_the_same_code(
    app: ServeApp, books: Books, dialect: str, code: int | None
) -> None:
    with RawClient(app.port, dialect) as client:
        client.close(code, "bye" if code else "")
        assert client.end() == Seen(code or 1005, "bye" if code else "")
    books.one("client_close", code or 1005)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("leave", [RawClient.fin, RawClient.rst])
def test_a_connection_without_a_close_frame_is_lost(
    app: ServeApp, books: Books, dialect: str, leave: Callable[[RawClient], None]
) -> None:
    leave(RawClient(app.port, dialect))
    books.one("connection_lost", 1005)


def test_peers_behind_a_black_hole_are_noticed(app: ServeApp, books: Books) -> None:
    with FaultProxy(app.port) as way, RawClient(way.port, "plain"), RawClient(way.port, "v1"):
        way.blackhole()
        asked = time.monotonic()
        books.some(2, "keepalive_timeout", 4201)
    assert time.monotonic() - asked < HEARTBEAT_S + TIMEOUT_S + HEARTBEAT_S + 1


def test_results_without_acknowledgements_end_as_a_slow_consumer(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    with RawClient(app.port, "v1") as client:
        credit = client.welcome["max_in_flight"]
        assert isinstance(credit, int)
        for _ in range(credit):
            client.frame(picture)
            while client.next_message()["type"] != "result":
                pass
        messages, seen = client.live()
    assert messages[-1]["type"] == "bye"
    assert seen == Seen(4101, "no result was acknowledged for 2.5 s")
    books.one("slow_consumer", 4101)


BROKEN = {
    "a frame that is not masked": (wire(TEXT, b"{}", masked=False), 1002, "protocol_error"),
    "an opcode that is reserved": (wire(3, b""), 1002, "protocol_error"),
    "text that is not UTF-8": (wire(TEXT, b"\xff\xfe"), 1007, "protocol_error"),
    "a message of 17 MiB": (
        wire(BINARY, b"", declared=MAX_MESSAGE_BYTES + 2**20), 1009, "message_too_big",
    ),
    "bad messages without end": (wire(TEXT, b"nope") * 30, 1008, "policy_violation"),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", BROKEN)
def test_what_breaks_the_rules_is_closed_with_its_code(
    app: ServeApp, books: Books, kind: str, dialect: str
) -> None:
    sent, code, reason = BROKEN[kind]
    with RawClient(app.port, dialect) as client:
        client.put(sent)
        assert client.end().code == code
    books.one(reason, code)


def test_a_client_that_says_no_hello_is_let_go(app: ServeApp, books: Books) -> None:
    with RawClient(app.port, "v1", greet=False) as client:
        assert client.end() == Seen(4001, "no hello within 1.5 s")
    books.one("hello_timeout", 4001)


def test_clients_that_only_show_life_are_idle(app: ServeApp, books: Books) -> None:
    with (
        RawClient(app.port, "plain") as plain,
        RawClient(app.port, "v1") as v1,
        ThreadPoolExecutor() as lives,
    ):
        seen = [seen for _, seen in lives.map(RawClient.live, (plain, v1))]
    assert seen == [Seen(4000, "no frame and no command for 5 s")] * 2
    books.some(2, "idle_timeout", 4000)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_more_than_the_server_holds_is_sent_away(app: ServeApp, dialect: str) -> None:
    with ExitStack() as crowd:
        for _ in range(MAX_SESSIONS):
            crowd.enter_context(RawClient(app.port))
        before = app.metric("segstream_ws_disconnects_total", reason="overloaded")
        with RawClient(app.port, dialect, greet=False) as refused:
            assert refused.end() == Seen(1013, "all sessions are taken; try again in a moment")
        wait_until(
            lambda: app.metric("segstream_ws_disconnects_total", reason="overloaded") > before,
            "the refusal is counted",
        )
    Books(app)  # and all of the crowd is accounted for


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_bug_costs_one_traceback_and_ends_with_1011(
    app: ServeApp, books: Books, dialect: str
) -> None:
    bugs = app.metric("segstream_unhandled_exceptions_total")
    tracebacks = len(re.findall("Exception Group Traceback", app.said()))
    with RawClient(app.port, dialect) as client:
        client.say({"type": "get_stats"})
        assert client.end() == Seen(1011, "an internal error; reconnect after a pause")
    books.one("server_error", 1011, bugs=1)
    assert len(re.findall("Exception Group Traceback", app.said())) == tracebacks + 1
    assert app.metric("segstream_unhandled_exceptions_total") == bugs + 1


@pytest.mark.parametrize("app", ["fast"], indirect=True)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_proxy_that_stands_in_for_replicas_tells_of_losses_too(
    app: ServeApp, books: Books, picture: bytes, dialect: str
) -> None:
    """HAProxy sends clients to it while the replica is being replaced."""
    found = re.search(
        r"SERVE_PROXY_ACTOR-fallback\S+ on node \S+ listening on \S+:(\d+)", app.log()
    )
    assert found
    client = RawClient(int(found[1]), dialect)
    for _ in range(4):
        client.frame(picture)
    client.rst()
    books.one("connection_lost", 1005)
