"""What every answer of HTTP says to browsers, and which pages may ask.

The page runs its own modules and styles and nothing else, speaks to this server alone, and stands
in no frame. Its files are asked for anew each time (a 304 where nothing changed), so that a page
never runs with modules of two versions; other answers are not kept at all.

Other pages may read answers where they may open a WebSocket (``ingress.admission.origin``); a page
that may not is refused where it would make the server work. Probes are answered whatever name they
ask for, and like scrapes however many requests are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from deployments.serve.middleware import PEER
from ingress.admission.addresses import named
from ingress.admission.gate import Gate, Knock
from ingress.admission.refusal import KEPT_OUT, Refused

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
_KEPT, _NOT_KEPT = "no-cache", "no-store"
_FILES = ("", "web")
_PROBES, _SCRAPES = ("health", "ready"), ("metrics",)
_SAFE = frozenset({"GET", "HEAD"})


class Manners:
    """Middleware around the routes; ``gate`` finds the replica's."""

    def __init__(self, app: ASGIApp, gate: Callable[[], Gate]) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if kept_out := (scope.get("extensions") or {}).get(KEPT_OUT):
            self._gate().heard_of(kept_out)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        knock, gate, room = knock_of(scope), self._gate(), _room(scope)
        ours = {**HEADERS, "cache-control": _KEPT if room in _FILES else _NOT_KEPT}
        origin = knock.headers.get("origin")
        if origin is not None and gate.allows_page(knock):
            ours |= _shared(origin)

        async def polite(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ours)
                headers.add_vary_header("Origin")
            await send(message)

        if room in _PROBES:
            await self._app(scope, receive, polite)
            return
        with ExitStack() as place:
            try:
                caller = gate.check(_without_harmless_origin(knock, scope["method"]))
                if room not in _SCRAPES:
                    place.enter_context(gate.request(caller))
            except Refused as refused:
                await refusal(refused)(scope, receive, polite)
                return
            answer = Response(status_code=204) if _asks_whether_it_may(knock, scope) else self._app
            await answer(scope, receive, polite)


def _without_harmless_origin(knock: Knock, method: str) -> Knock:
    """Any page may have what makes the server do nothing, and read it only where it may."""
    if method not in _SAFE or "origin" not in knock.headers:
        return knock
    headers = {name: value for name, value in knock.headers.items() if name != "origin"}
    return Knock(knock.peer, headers, knock.scheme)


def _asks_whether_it_may(knock: Knock, scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in knock.headers


def refusal(refused: Refused) -> JSONResponse:
    """The response to who is kept out."""
    status = refused.refusal.status
    return JSONResponse(refused.body(), status_code=status, headers=refused.headers())


async def turn_away(websocket: WebSocket, refused: Refused) -> None:
    """The same for a handshake; where the server below has no word for that, a bare 403."""
    if "websocket.http.response" in (websocket.scope.get("extensions") or {}):
        await websocket.send_denial_response(refusal(refused))
    else:
        await websocket.close()


def knock_of(scope: Scope | Mapping[str, Any]) -> Knock:
    """A request or handshake as the gate sees it; a header that comes twice is joined."""
    headers = named(scope["headers"])
    kept = (scope.get("extensions") or {}).get(PEER) or scope
    peer: Sequence[Any] = kept.get("client") or (None,)
    offered = scope.get("subprotocols") or ()
    return Knock(peer[0], headers, scope.get("scheme", ""), tuple(offered))


def _shared(origin: str) -> dict[str, str]:
    """What lets a page of another origin read the answer (Fetch standard, CORS protocol)."""
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-expose-headers": "x-segstream-meta, retry-after",
        "access-control-max-age": "600",
        "cross-origin-resource-policy": "cross-origin",
    }


def _room(scope: Scope) -> str:
    """The first part of the path, below the prefix that the application is served at."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root).strip("/").partition("/")[0]
