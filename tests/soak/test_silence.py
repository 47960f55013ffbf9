"""Sockets that say nothing: whoever has something to say is let in beside them within two seconds.

Five hundred connections that never send a byte, five hundred that stop in the middle of their
handshake, and five hundred of one address that never say hello; meanwhile honest clients come.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tests.attacks.attackers import FORWARDED
from tests.faults.raw_client import ConnectionEnded, RawClient
from tests.serve_app import serve_app

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

COUNT = 500
NEWCOMERS = 20
ROOM_S = 2.0

_HALF = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize("profile", ["fast", "bare"])
def test_silent_sockets_leave_room(
    profile: str, record_property: Callable[[str, object], None]
) -> None:
    with serve_app(profile) as app, ExitStack() as strangers:
        for said in (b"", _HALF):
            for _ in range(COUNT):
                mute = strangers.enter_context(socket.create_connection(("127.0.0.1", app.port), 5))
                mute.sendall(said)
        for _ in range(COUNT):
            with suppress(ConnectionEnded, AssertionError, OSError):  # one too many
                strangers.enter_context(RawClient(app.port, "v1", greet=False, headers=[FORWARDED]))
        took_s: list[float] = []
        for number in range(NEWCOMERS):
            began = time.monotonic()
            with RawClient(app.port, "v1" if number % 2 else "plain"):
                took_s.append(time.monotonic() - began)
            app.get("health")
            assert time.monotonic() - began < ROOM_S
        record_property("slowest_newcomer_ms", round(1000 * max(took_s)))
        assert max(took_s) < ROOM_S
        assert "Traceback" not in app.log()
