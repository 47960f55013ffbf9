"""Which pages may come in, and by which name the server may be asked.

Browsers let any page open a WebSocket anywhere and say in ``Origin`` which page it is (RFC 6455
section 10.2); programs send none, and are the business of authentication.

Rules
1. The page of this server may: its origin is the host that the request asks for, with the same
   port. A page by https may speak to what looks like plain http here, since a proxy may have ended
   its TLS unseen; a page by http may not speak to https.
2. While the server listens on loopback and is asked for by a name of loopback, pages of loopback
   may, whatever their port: a front end that is being worked on.
3. Others must be on the operator's list, with scheme and port.
4. A page of a stranger's domain that points at 127.0.0.1 (DNS rebinding) is of the same origin as
   the name that it asks for. So a server on loopback answers to names of loopback, and to others
   only where a proxy has marked the request, which no page can do to a handshake. Where the
   operator wrote names down, no other is answered, wherever it listens.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from ingress.admission.addresses import Caller, hostname, names_loopback

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origins:
    """The rules as one server has them."""

    def __init__(
        self, allowed: Collection[str], hosts: Collection[str], *, on_loopback: bool
    ) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(_normal(origin) for origin in allowed)
        self._hosts = frozenset(hostname(host.lower()) for host in hosts)
        self._on_loopback = on_loopback

    def knows_host(self, caller: Caller) -> bool:
        """Whether the server may be asked by that name (rule 4)."""
        if self._hosts:
            name = hostname(caller.host)
            return name in self._hosts or (self._on_loopback and names_loopback(name))
        return not self._on_loopback or names_loopback(caller.host) or caller.trusted

    def allows(self, origin: str | None, caller: Caller) -> bool:
        """Whether a page of ``origin``, or a program, may come in."""
        if origin is None or self._any:
            return True
        return (
            _is_same(origin, caller)
            or (_normal(origin) in self._allowed)
            or (self._on_loopback and names_loopback(caller.host) and _is_of_loopback(origin))
        )


def is_origin(text: str) -> bool:
    """Whether a browser could have sent it: short, with a scheme and a host, nothing else."""
    return len(text) < 300 and _normal(text) == text.lower() and _split(text) is not None


def _is_same(origin: str, caller: Caller) -> bool:
    there, here = _split(origin), _split(f"//{caller.host}")
    if there is None or here is None or (caller.secure and there[0] != "https"):
        return False
    default = _PORTS.get(there[0])
    return (there[1], there[2] or default) == (here[1], here[2] or default)


def _is_of_loopback(origin: str) -> bool:
    parts = _split(origin)
    return parts is not None and parts[0] in ("http", "https") and names_loopback(parts[1])


def _normal(origin: str) -> str:
    """``origin`` as browsers write it: in small letters, without the port that its scheme has."""
    parts = _split(origin)
    if parts is None:
        return origin.lower()
    scheme, host, port = parts
    bracketed = f"[{host}]" if ":" in host else host
    shown = "" if port in (None, _PORTS.get(scheme)) else f":{port}"
    return f"{scheme}://{bracketed}{shown}"


def _split(origin: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port; None for what has no host, or a port that is none."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
