"""The address of the application: what is listened on, what a person opens, what is asked here.

Serve binds ``host``, which may stand for every interface of the machine; nobody can open such a
one, so what is shown and what is polled name one of its addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_LOCALHOST = frozenset({"0.0.0.0", "127.0.0.1", "::"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where the application listens and where in there it is found; ``prefix`` ends in a slash."""

    host: str
    port: int
    prefix: str = "/"
    tls: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Address:
        """What a configuration says, with Serve's defaults for what it does not."""
        http = content.get("http_options") or {}
        first: Mapping[str, Any] = next(iter(content.get("applications") or ()), {})
        return cls(
            host=http.get("host", "0.0.0.0"),
            port=http.get("port", 8000),
            prefix=f"{(first.get('route_prefix') or '/').rstrip('/')}/",
            tls=bool(http.get("ssl_certfile")),
        )

    @property
    def url(self) -> str:
        """What a person at this machine opens."""
        return self._on("localhost" if self.host in _LOCALHOST else self.host)

    @property
    def local(self) -> str:
        """The same for programs of this machine: nothing is left to what names stand for."""
        return self._on(_HERE.get(self.host, self.host))

    @property
    def ready(self) -> str:
        """What says whether the application can serve."""
        return f"{self.local}ready"

    def _on(self, host: str) -> str:
        scheme = "https" if self.tls else "http"
        bracketed = f"[{host}]" if ":" in host else host
        return f"{scheme}://{bracketed}:{self.port}{self.prefix}"
