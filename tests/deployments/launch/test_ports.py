"""Ports: a busy one is found, although Serve would share it."""

from __future__ import annotations

import socket

import pytest

from deployments.launch.ports import check_port
from deployments.launch.refusal import CannotStart


def test_a_busy_port_is_found_although_serve_would_share_it() -> None:
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port} .* PORT=8001"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
