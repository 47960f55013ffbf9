"""Ports: a busy one is found, although Serve would share it, at every kind of host."""

from __future__ import annotations

import socket

import pytest

from deployments.launch.ports import check_port
from deployments.launch.refusal import CannotStart


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1", "::"])
def test_a_busy_port_is_found_although_serve_would_share_it(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            busy.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port} .* PORT=8001"):
            check_port(host, port)
    check_port(host, port)


@pytest.mark.parametrize("host", ["198.51.100.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_no_fault_of_the_port(host: str) -> None:
    with pytest.raises(CannotStart, match=f"on {host} .* takes an address of this machine"):
        check_port(host, 8000)


def test_a_name_that_nobody_knows_is_said_to_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CannotStart, match=r"host cameras leads nowhere \(Name or service"):
        check_port("cameras", 8000)
