"""What leans on Serve's insides still finds what it leans on, in the pinned Ray."""

from __future__ import annotations

import inspect
import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import uvicorn
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray._common.formatters import JSONFormatter
from ray.serve._private import constants, http_util, replica, replica_result
from starlette.types import Message, Receive, Scope, Send

from deployments.serve import listener
from deployments.serve.listener import (
    DropAfterLoss,
    RawWebSocket,
    adopt_serve_logging,
    configure_uvicorn,
    websocket_options,
)
from deployments.serve.websocket import ReportingWebSocket


@pytest.fixture
def untouched_uvicorn() -> Iterator[None]:
    before = uvicorn.Config.__init__
    yield
    uvicorn.Config.__init__ = before  # type: ignore[method-assign]


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


@pytest.mark.usefixtures("untouched_uvicorn")
def test_every_config_made_afterwards_has_the_websocket_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    configure_uvicorn()
    wrapped = uvicorn.Config.__init__
    configure_uvicorn()
    assert uvicorn.Config.__init__ is wrapped, "the second call wraps nothing"
    config = uvicorn.Config(app, ws_ping_timeout=3)
    assert config.ws_max_size == 24 * 1024 * 1024
    assert config.ws_ping_interval == 10
    assert config.ws_ping_timeout == 3, "what a caller says wins"
    assert config.ws_per_message_deflate is False


def test_the_options_come_from_the_environment() -> None:
    environ = {"SEGSTREAM_WS_MAX_BYTES": "1000", "SEGSTREAM_WS_PING_INTERVAL_S": "2.5"}
    options = websocket_options(environ)
    assert (options["ws_max_size"], options["ws_ping_interval"]) == (1000, 2.5)


@pytest.mark.usefixtures("untouched_uvicorn")
@pytest.mark.parametrize(("haproxy", "cls"), [("1", RawWebSocket), ("0", DropAfterLoss)])
def test_each_proxy_has_its_own_middleware(
    monkeypatch: pytest.MonkeyPatch, haproxy: str, cls: object
) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", haproxy)
    (middleware,) = configure_uvicorn()
    assert middleware.cls is cls


@pytest.mark.usefixtures("untouched_uvicorn")
def test_the_proxy_that_stands_in_beside_haproxy_is_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.setattr(listener, "_actor_name", lambda: f"{constants.SERVE_PROXY_NAME}-fallback-1")
    (middleware,) = configure_uvicorn()
    chosen: object = middleware.cls
    assert chosen is DropAfterLoss
    assert websocket_options({"RAY_SERVE_ENABLE_HA_PROXY": "1"})["ws"] is ReportingWebSocket


@pytest.mark.parametrize(("kind", "raised"), [("websocket", False), ("http", True)])
async def test_what_is_sent_to_a_lost_websocket_is_dropped(kind: str, raised: bool) -> None:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": f"{kind}.send"})

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        raise ConnectionResetError

    expected = pytest.raises(ConnectionResetError) if raised else nullcontext()
    with expected:
        await DropAfterLoss(inner)({"type": kind}, receive, send)


@pytest.mark.parametrize(("kind", "marked"), [("websocket", True), ("http", False)])
async def test_only_websockets_are_marked(kind: str, marked: bool) -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    await RawWebSocket(inner)({"type": kind, "headers": []}, receive, send)
    assert http_util.parse_disconnect_disabled_header(dict(seen[0]["headers"])) is marked


async def test_what_is_sent_to_a_peer_that_has_gone_is_dropped() -> None:
    passed: list[str] = []

    async def chatty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send"})
        passed.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def gone(message: Message) -> None:
        raise OSError("the peer has gone")

    await DropAfterLoss(chatty)({"type": "websocket"}, receive, gone)
    with pytest.raises(OSError, match="gone"):
        await DropAfterLoss(chatty)({"type": "http"}, receive, gone)
    assert passed == ["websocket"]


def test_serve_still_reads_what_we_set() -> None:
    assert "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" in inspect.getsource(constants)
    assert "uvicorn.Config(" in inspect.getsource(http_util)
    assert "parse_disconnect_disabled_header" in inspect.getsource(replica)


def test_the_line_that_a_cancelled_call_costs_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line = "Cancelling request that has already been assigned to a replica."
    assert line in inspect.getsource(replica_result), "Serve says it in other words now"
    adopt_serve_logging()
    serve_logger = logging.getLogger("ray.serve")
    with caplog.at_level(logging.INFO, "ray.serve"):
        serve_logger.addHandler(caplog.handler)
        serve_logger.info(line)
        serve_logger.info("another line")
        serve_logger.removeHandler(caplog.handler)
    assert {record.message for record in caplog.records} == {"another line"}


@pytest.fixture
def said() -> Iterator[list[logging.LogRecord]]:
    """What reaches Serve's handlers."""
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    serve_logger = logging.getLogger("ray.serve")
    before = serve_logger.handlers
    serve_logger.handlers = [Kept(logging.INFO), Kept(logging.ERROR)]
    adopt_serve_logging()
    yield records
    serve_logger.handlers = before


def test_a_repeated_warning_reaches_each_of_serves_handlers_once(
    said: list[logging.LogRecord],
) -> None:
    for _ in range(3):
        logging.getLogger("segstream.pools").warning("away")
        logging.getLogger("models.batch").error("a bug")
        logging.getLogger("segstream.session").warning("session ended")
        logging.getLogger("ray.serve").warning("of Serve's own")
    assert Counter(record.getMessage() for record in said) == {
        "away": 1, "a bug": 6, "session ended": 3, "of Serve's own": 3,
    }  # fmt: skip


def test_fields_given_as_extra_are_keys_of_a_json_line(said: list[logging.LogRecord]) -> None:
    fields = {"session": "abc", "age_s": 1.5, "reason": "client_close"}
    logging.getLogger("segstream.session").info("session %s ended", "abc", extra=fields)
    line = json.loads(JSONFormatter().format(said[0]))
    assert line["message"] == "session abc ended"
    assert fields.items() <= line.items()
