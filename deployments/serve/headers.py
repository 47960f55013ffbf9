"""Request headers that are Serve's own words, and what becomes of them where a stranger says them.

Serve takes its orders for one request from its headers, and believes whoever sent them: a timeout
cuts a stream, a mark keeps the loss of a client from being noticed, an id is written into the log,
and one that is not UTF-8 ends in a traceback and a 500. Our clients need none of them. So they are
taken off before Serve sees the request, wherever clients connect; where one cannot be read at all,
the request is refused with the words that say which.

What an operator's tracing adds (W3C's ``traceparent`` and ``tracestate``, which Serve reads where
tracing is on) passes, if it can be read.
"""

from __future__ import annotations

import json
import os

from starlette.types import ASGIApp, Receive, Scope, Send

from ingress.wire.words import ErrorCode

# As they are compared: in small letters, with hyphens, for Serve takes underscores as well.
TAKEN_OFF = frozenset(
    {
        b"x-request-id",
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve-multiplexed-model-id",
    }
)
TAKEN_OFF_PREFIX = b"x-serve-router-"
PASSED = frozenset({b"traceparent", b"tracestate"})

# Its name is the operator's to choose.
SESSION_ID_VARIABLE, SESSION_ID = "RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id"

_CODE = str(ErrorCode.BAD_MESSAGE)


class StrangersHeaders:
    """Middleware that takes Serve's own headers off, and refuses those that cannot be read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        session_id = os.environ.get(SESSION_ID_VARIABLE, SESSION_ID)
        self._taken_off = TAKEN_OFF | {_compared(session_id.encode())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        kept = []
        for header in scope["headers"]:
            name = _compared(header[0])
            is_serves = name in self._taken_off or name.startswith(TAKEN_OFF_PREFIX)
            if (is_serves or name in PASSED) and not _is_utf8(header[1]):
                await _refuse(scope["type"], name.decode(), send)
                return
            if not is_serves:
                kept.append(header)
        await self._app({**scope, "headers": kept}, receive, send)


def _compared(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _refuse(kind: str, name: str, send: Send) -> None:
    """400, to a handshake as well."""
    message = f"the value of the header {name} is not UTF-8; leave the header out, or correct it"
    body = json.dumps({"error": {"code": _CODE, "message": message}}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)),
    ]  # fmt: skip
    answer = "websocket.http.response" if kind == "websocket" else "http.response"
    await send({"type": f"{answer}.start", "status": 400, "headers": headers})
    await send({"type": f"{answer}.body", "body": body})
