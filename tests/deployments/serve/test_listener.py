"""uvicorn gets our options wherever Serve starts it, and each proxy its own middleware."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import uvicorn
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import constants, http_util
from starlette.types import Receive, Scope, Send

from deployments.serve import listener
from deployments.serve.listener import configure_uvicorn, websocket_options
from deployments.serve.middleware import DropAfterLoss, RawWebSocket
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


def test_serve_still_reads_what_we_set() -> None:
    assert "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" in inspect.getsource(constants)
    assert "uvicorn.Config(" in inspect.getsource(http_util)
