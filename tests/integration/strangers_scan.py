"""A stranger on the network: what answers him, of all that a cluster's processes listen on.

He comes by each address of this machine but loopback, to each listening socket of each process, and
has no token. Where gRPC answers he tries every method of every service that Ray has.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import grpc
import psutil
from ray.core import generated as of_core
from ray.serve import generated as of_serve

_ANSWER_S = 5.0
_METHOD = re.compile(r"'(/[A-Za-z.]+/[A-Za-z]+)'")


@dataclass(frozen=True, slots=True)
class Door:
    """A socket that listens, as it is reached from the network."""

    host: str
    port: int
    owner: str


def network_addresses() -> list[str]:
    """The addresses of this machine that other machines may know."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
        and not address.address.startswith(("127.", "::1", "fe80:"))
    ]


def listening(family: Iterable[psutil.Process]) -> dict[int, str]:
    """Every port that a process of ``family`` listens on, by whom."""
    ports = {}
    for process in family:
        with suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    ports[connection.laddr.port] = " ".join(process.cmdline()).strip()[:80]
    return ports


def open_doors(family: Iterable[psutil.Process]) -> Iterator[Door]:
    """The sockets that let somebody connect who comes from the network."""
    for port, owner in listening(family).items():
        for host in network_addresses():
            with suppress(OSError), socket.create_connection((host, port), _ANSWER_S):
                yield Door(host, port, owner)


def let_in(door: Door) -> list[str]:
    """What a stranger is answered there other than that he may not; nothing where he is refused."""
    answers = dict(_by_grpc(door))
    if set(answers.values()) == {"UNAVAILABLE"}:
        return _by_http(door)
    if "UNAUTHENTICATED" not in answers.values():
        return [f"nothing there wants a token: {set(answers.values())}"]
    refusals = {"UNAUTHENTICATED", "UNIMPLEMENTED"}
    return [f"{method}: {code}" for method, code in answers.items() if code not in refusals]


def _by_grpc(door: Door) -> Iterator[tuple[str, str]]:
    host = f"[{door.host}]" if ":" in door.host else door.host
    with grpc.insecure_channel(f"{host}:{door.port}") as channel:
        for method in methods():
            call = channel.unary_unary(method, _as_it_is, _as_it_is)
            try:
                call(b"", timeout=_ANSWER_S)
            except grpc.RpcError as error:
                code = error.code().name
                yield method, code
                if code == "UNAVAILABLE":
                    return
            else:
                yield method, "answered"


def _as_it_is(message: bytes) -> bytes:
    return message


def _by_http(door: Door) -> list[str]:
    connection = HTTPConnection(door.host, door.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return []  # cut off without a word
    finally:
        connection.close()
    return [] if status in (401, 403) else [f"GET /: {status}"]


@cache
def methods() -> list[str]:
    """The full name of every gRPC method that Ray and Serve define."""
    found = set()
    for package in (of_core, of_serve):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith("_grpc"):
                file = importlib.import_module(module.name).__file__
                assert file
                found |= set(_METHOD.findall(Path(file).read_text()))
    return sorted(found)
