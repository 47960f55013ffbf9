"""The first seconds of a server: equipped with the defaults as it is loaded, by whoever it is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import constants, http_util
from starlette.types import Receive, Scope, Send

from deployments.serve import listener
from deployments.serve.equipment import equip, kit_for
from deployments.serve.listener import configure_uvicorn
from deployments.serve.reporting import ReportingWebSocket
from deployments.serve.websocket import PatientWebSocket
from ingress.settings import IngressSettings, Keepalive


@pytest.fixture(autouse=True)
def _untouched_uvicorn() -> Iterator[None]:
    before = uvicorn.Config.load
    yield
    uvicorn.Config.load = before  # type: ignore[method-assign]


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def loaded() -> Any:
    config = uvicorn.Config(app)
    config.load()
    return config


def test_every_server_is_loaded_with_the_defaults_until_the_application_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    assert configure_uvicorn() == []
    wrapped = uvicorn.Config.load
    configure_uvicorn()
    assert uvicorn.Config.load is wrapped, "the second call wraps nothing"
    config = loaded()
    limits, keepalive = IngressSettings().limits, IngressSettings().keepalive
    assert config.ws_max_size == limits.max_message_bytes
    assert config.ws_ping_interval == keepalive.heartbeat_s
    assert config.ws_per_message_deflate is False
    assert config.ws_protocol_class.patience_s == limits.send_timeout_s
    settings = IngressSettings(keepalive=Keepalive(heartbeat_s=3))
    equip(config, kit_for(settings, in_replica=False, since=1))
    assert config.ws_ping_interval == 3


@pytest.mark.parametrize(
    ("haproxy", "actor", "websocket"),
    [
        ("1", "SERVE_REPLICA::segstream#ingress", PatientWebSocket),
        ("1", f"{constants.SERVE_PROXY_NAME}-fallback-1", ReportingWebSocket),
        ("0", f"{constants.SERVE_PROXY_NAME}-1", ReportingWebSocket),
    ],
)
def test_each_server_is_equipped_for_the_process_that_it_is_in(
    monkeypatch: pytest.MonkeyPatch, haproxy: str, actor: str, websocket: type
) -> None:
    """Beside HAProxy there is a proxy of Serve's that stands in, and it is a proxy."""
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", haproxy)
    monkeypatch.setattr(listener, "_actor_name", lambda: actor)
    configure_uvicorn()
    assert loaded().ws_protocol_class.__base__ is websocket


def test_serve_still_reads_what_we_set() -> None:
    assert "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" in inspect.getsource(constants)
    assert "uvicorn.Config(" in inspect.getsource(http_util)
