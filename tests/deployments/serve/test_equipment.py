"""A running server is equipped: all of it, once, by the youngest, and without knowing us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from ray import cloudpickle
from starlette.types import Receive, Scope, Send

from deployments.serve import equipment
from deployments.serve.crowd import Crowd
from deployments.serve.equipment import LEASE_S, Kit, by_value, equip, equip_proxy, kit_for
from deployments.serve.headers import StrangersHeaders
from deployments.serve.middleware import DropAfterLoss, RawWebSocket, SocketPeer
from deployments.serve.reporting import ReportingWebSocket
from deployments.serve.websocket import NEEDED, PatientWebSocket
from ingress.settings import IngressSettings, Keepalive, SessionLimits

dumps: Callable[[object], bytes] = cloudpickle.dumps


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def server_config() -> uvicorn.Config:
    """A server's, as Serve makes it."""
    return uvicorn.Config(lambda: app, factory=True, lifespan="off", proxy_headers=False)


def kit(heartbeat_s: float = 3, *, since: float = 1, in_replica: bool = False) -> Kit:
    settings = IngressSettings(
        keepalive=Keepalive(heartbeat_s=heartbeat_s, timeout_s=4),
        limits=SessionLimits(max_message_bytes=2**24, send_timeout_s=5, hello_timeout_s=5),
    )
    return kit_for(settings, in_replica=in_replica, since=since)


def layers(config: Any) -> list[type]:
    """What lies around the app, the outermost first."""
    found, around = [], config.loaded_app
    while around is not app:
        found.append(type(around))
        around = around._app
    return found


@pytest.mark.parametrize(
    ("in_replica", "websocket", "around"),
    [
        (
            False,
            ReportingWebSocket,
            [Crowd, SocketPeer, StrangersHeaders, DropAfterLoss],
        ),
        (True, PatientWebSocket, [Crowd, SocketPeer, StrangersHeaders, RawWebSocket]),
    ],
)
def test_the_next_connection_has_what_the_settings_say(
    in_replica: bool, websocket: type, around: list[type]
) -> None:
    config = server_config()
    equip(config, kit(in_replica=in_replica))
    assert (config.ws_ping_interval, config.ws_ping_timeout) == (3, 4)
    assert (config.ws_max_size, config.ws_per_message_deflate) == (2**24, False)
    made: Any = config.ws_protocol_class
    assert made.__base__ is websocket
    assert (made.patience_s, made.max_fragments, made.message_stall_s) == (5, 4096, 20)
    assert layers(config) == around


def test_the_same_kit_twice_is_once_and_another_one_takes_its_place() -> None:
    config = server_config()
    equip(config, kit())
    first = config.ws_protocol_class
    equip(config, kit(since=2))
    assert config.ws_protocol_class is first
    equip(config, kit(7, since=3))
    assert config.ws_protocol_class is not first
    assert config.ws_ping_interval == 7
    assert layers(config) == [Crowd, SocketPeer, StrangersHeaders, DropAfterLoss]


def test_the_younger_replica_counts_while_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr(equipment, "time", clock)
    config = server_config()
    equip(config, kit(7, since=2))
    equip(config, kit(3, since=1))
    assert config.ws_ping_interval == 7
    clock.monotonic = lambda: LEASE_S - 1
    equip(config, kit(7, since=2))  # renewed
    clock.monotonic = lambda: 2 * LEASE_S - 2
    equip(config, kit(3, since=1))
    assert config.ws_ping_interval == 7
    clock.monotonic = lambda: 2 * LEASE_S
    equip(config, kit(3, since=1))
    assert config.ws_ping_interval == 3, "the younger has gone"


@pytest.mark.parametrize("gone", ["ws_ping_interval", "ws_protocol_class", "load"])
def test_a_config_that_is_another_is_left_as_it_is(gone: str) -> None:
    names = ("loaded_app", *equipment.NEEDED, *kit().options)
    config = SimpleNamespace(**{name: True for name in names if name != gone})
    before = vars(config).copy()
    with pytest.raises(AttributeError, match=f"uvicorn.Config has no {gone}"):
        equip(config, kit())
    assert vars(config) == before


async def test_a_proxy_is_equipped_once_it_has_a_server() -> None:
    config = server_config()
    starting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    proxy = SimpleNamespace(_start_http_server_task=starting)
    assert equip_proxy(kit(), proxy) is False
    starting.set_result((None, SimpleNamespace(config=config)))
    assert equip_proxy(kit(), proxy) is True
    assert config.ws_ping_interval == 3


def test_a_proxy_that_is_another_says_so() -> None:
    with pytest.raises(AttributeError, match="_start_http_server_task"):
        equip_proxy(kit(), SimpleNamespace())


STRANGE = """
import asyncio, pickle, sys

class Unknown:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("deployments", "ingress", "models", "tests"):
            raise ModuleNotFoundError(f"a proxy does not know {name}")

sys.meta_path.insert(0, Unknown())
fit = pickle.load(sys.stdin.buffer)

import types, uvicorn
from uvicorn.server import ServerState

async def app(scope, receive, send): print("reached", scope["headers"])

async def main():
    config = uvicorn.Config(app, proxy_headers=False)
    starting = asyncio.get_running_loop().create_future()
    starting.set_result((None, types.SimpleNamespace(config=config)))
    assert fit(types.SimpleNamespace(_start_http_server_task=starting))
    assert fit(types.SimpleNamespace(_start_http_server_task=starting))
    socket = config.ws_protocol_class(config=config, server_state=ServerState(), app_state={})
    transport = type("Idle", (asyncio.Transport,), {"get_write_buffer_size": lambda self: 0})()
    socket.connection_made(transport)
    socket.pause_writing()
    socket.resume_writing()
    await config.loaded_app({"type": "http", "headers": [(b"x-request-id", b"1")]}, None, None)
    print(type(socket).__mro__[1].__name__, socket.patience_s, socket.ping_interval)

asyncio.run(main())
"""


def test_what_is_sent_to_a_proxy_needs_nothing_of_ours_there() -> None:
    with by_value():
        sent = dumps(partial(equip_proxy, kit()))
    command = [sys.executable, "-c", STRANGE]
    done = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().splitlines() == ["reached []", "ReportingWebSocket 5.0 3.0"]
    assert len(dumps(equip_proxy)) < 200, "by name again"


def test_uvicorn_still_has_what_ours_needs() -> None:
    theirs = PatientWebSocket.__base__
    assert all(hasattr(theirs, name) for name in NEEDED)


def test_with_another_uvicorn_its_own_websocket_serves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = server_config()
    config.load()
    own = config.ws_protocol_class
    monkeypatch.setattr("deployments.serve.websocket.NEEDED", ("a_name_of_tomorrow",))
    equip(config, kit())
    assert config.ws_protocol_class is own
    assert config.ws_ping_interval == 3
    assert "this uvicorn has no a_name_of_tomorrow" in caplog.text
