"""Ports of this machine: whether one is free, and which no other cluster has.

A port is probed before it is used. Serve's proxy binds with SO_REUSEPORT, so a second server on a
busy port would not fail but take every other connection.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import Any

from deployments.launch.refusal import CannotStart

_RANGE = 100  # ports for the ingress replicas of a node
_HOSTS = "http_options.host takes an address of this machine, or 0.0.0.0 or :: for all of them"


def check_port(host: str, port: int) -> None:
    """Raise CannotStart where ``port`` is another's, or ``host`` no address of this machine."""
    try:
        family, address = _place(host, port)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise CannotStart(
            f"http_options.host {host} leads nowhere ({error.strerror}); {_HOSTS}"
        ) from None
    except OSError as error:
        of_the_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        advice = "choose another: make run PORT=8001" if of_the_port else _HOSTS
        raise CannotStart(
            f"port {port} on {host} cannot be used ({os.strerror(error.errno or 0)}); {advice}"
        ) from None


def _place(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """The family and the address that Serve will bind: of a name, IPv4 where it has one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found, key=lambda each: each[0] == socket.AF_INET6)
    return family, address


def own_ports() -> dict[str, str]:
    """Ports that no other cluster of this machine has.

    The replicas' uvicorns, and Serve's fallback proxy, bind with SO_REUSEPORT: on the ports that
    Serve gives to all, two clusters would take each other's connections.
    """
    single = ("HAPROXY_STATS", "HAPROXY_METRICS", "FALLBACK_PROXY_HTTP")
    ports = {f"RAY_SERVE_{name}_PORT": free_port() for name in single}
    first = _free_range()
    ports["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"] = first
    ports["RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"] = first + _RANGE
    return {name: str(port) for name, port in ports.items()}


def _free_range() -> int:
    """The first of ``_RANGE`` ports, below those that the system gives to clients."""
    firsts = list(range(20_000, 32_000 - _RANGE, _RANGE))
    random.shuffle(firsts)
    return next(first for first in firsts if _is_free(first))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
