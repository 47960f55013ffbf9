"""Where a request comes from: its address, the host that it asks for, what a proxy says of both.

Rules
1. Forwarding headers are believed of loopback and of the proxies that the operator named, nobody
   else. Of the addresses in X-Forwarded-For the rightmost that is no such proxy's is the client's:
   what stands left of it the client may have written itself.
2. The peer is the socket's, not what uvicorn, which believes every header of loopback, makes of it
   (``deployments.serve.middleware``).
3. Serve's HAProxy, which hides the peer, names it in a header of ours
   (``deployments.serve.haproxy``). It is believed of loopback, and only while ``named_peers`` says
   that HAProxy writes over what a client has sent. Else, behind it, nobody's address is known.
4. An IPv6 client has a /64 to choose from, so that is its address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

PEER_HEADER = "x-segstream-peer"
_MARKS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded")
_MAX_HOPS = 16

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as the network knows.

    Attributes:
        address: the client's; None where it is not known.
        host: name and port that it asked for, in small letters, as the Host header has them.
        secure: whether it came by TLS; None where only a plain hop is seen.
        forwarded: whether a proxy, or somebody who plays one, has added headers.
        trusted: whether those headers are a trusted proxy's.
    """

    address: IpAddress | None = None
    host: str = ""
    secure: bool | None = None
    forwarded: bool = False
    trusted: bool = False

    @property
    def key(self) -> str | None:
        """What quotas count by; None for loopback and for who is not known, who have none."""
        if self.address is None or self.address.is_loopback:
            return None
        if isinstance(self.address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((self.address, 64), strict=False))
        return str(self.address)

    @property
    def is_local(self) -> bool:
        """Whether a program of this machine asks, no proxy between, where nobody else can."""
        here = self.address is None or self.address.is_loopback
        return here and not self.forwarded and names_loopback(self.host)

    def is_in(self, networks: Iterable[IpNetwork]) -> bool:
        """Whether its address is known and in one of them."""
        address = self.address
        return address is not None and any(address in network for network in networks)


def parsed(text: str) -> IpAddress | None:
    """The address that ``text`` is, with or without a port; IPv4 in IPv6's clothes is IPv4."""
    text = text.strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str | None) -> bool:
    """Whether who listens on ``host`` is reached from this machine alone."""
    address = parsed(host or "")
    return host == "localhost" or (address is not None and address.is_loopback)


def names_loopback(host: str) -> bool:
    """Whether ``host``, a name with or without its port, is this machine's loopback."""
    name = hostname(host)
    return name.endswith(".localhost") or is_loopback(name)


def hostname(host: str) -> str:
    """``host`` without its port and brackets; an IPv6 address without brackets has no port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def named(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names in small letters; one that comes twice is joined."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Addresses:
    """Reads callers out of requests."""

    def __init__(
        self, trusted_proxies: Iterable[str], named_peers: Callable[[], bool] | None = None
    ) -> None:
        """``named_peers``: whether HAProxy names the peers now; None: it is not in front."""
        self._trusted = tuple(ipaddress.ip_network(network) for network in trusted_proxies)
        self._named_peers = named_peers

    def caller(self, peer: str | None, headers: Mapping[str, str], scheme: str) -> Caller:
        """Who sent a request that came from ``peer``, by ``scheme``."""
        address = self._peer(peer, headers)
        hops = [parsed(hop) for hop in headers.get("x-forwarded-for", "").split(",")[-_MAX_HOPS:]]
        forwarded = any(mark in headers for mark in _MARKS)
        trusted = forwarded and self._is_trusted(address)
        host, secure = headers.get("host", ""), scheme in ("https", "wss")
        if trusted:
            host = headers.get("x-forwarded-host", host).rpartition(",")[2]
            proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
            secure = proto in ("https", "wss") or (secure and not proto)
        return Caller(
            self._client(address, hops), host.strip().lower(), secure or None, forwarded, trusted
        )

    def _peer(self, peer: str | None, headers: Mapping[str, str]) -> IpAddress | None:
        address = parsed(peer or "")
        if self._named_peers is None:
            return address
        if not self._named_peers():
            return None
        of_haproxy = address is not None and address.is_loopback
        return parsed(headers.get(PEER_HEADER, "")) if of_haproxy else address

    def _client(self, peer: IpAddress | None, hops: list[IpAddress | None]) -> IpAddress | None:
        client = peer
        for hop in reversed(hops):
            if client is None or hop is None or not self._is_trusted(client):
                break
            client = hop
        return client

    def _is_trusted(self, address: IpAddress | None) -> bool:
        if address is None:
            return False
        return address.is_loopback or any(address in network for network in self._trusted)
