"""The body of a request: bounded in size, in time, and in how slowly it may come.

Rules
1. It is held no further than its largest size. What is too big is read on and let go, up to a
   bound: a connection that closes on a client in the middle of its upload is reset, and the reset
   may overtake the refusal (RFC 9112 section 9.6).
2. In every ``body_stall_s`` at least ``body_bytes_per_s`` must come on the average, and the whole
   within ``body_timeout_s``: who drips holds a place among the requests no longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from fastapi import Request
from ray.exceptions import RayError

from deployments.serve.underway import Underway
from ingress.admission.refusal import Refused
from ingress.settings import Http

_READ_ON = 4  # times the largest


class BodyTooBig(Exception):
    """There are more bytes than are taken."""


class ClientLeft(Exception):
    """Nobody waits for an answer any longer."""


async def read_body(request: Request, max_bytes: int, settings: Http) -> bytes:
    """The body of ``request``.

    Raises:
        BodyTooBig: it has more than ``max_bytes``.
        ClientLeft: its sender has gone.
        Refused: it comes too slowly.
    """
    bound = _READ_ON * max_bytes
    if int(request.headers.get("content-length", 0)) > bound:
        raise BodyTooBig
    body, received, more = bytearray(), 0, True
    pace = _Pace(settings)
    while more:
        message = await pace.next(request)
        if message["type"] == "http.disconnect":
            raise ClientLeft
        chunk: bytes = message.get("body", b"")
        received, more = received + len(chunk), message.get("more_body", False)
        pace.came(len(chunk))
        if received > bound:
            raise BodyTooBig
        if received <= max_bytes:
            body += chunk
    if received > max_bytes:
        raise BodyTooBig
    return bytes(body)


class _Pace:
    """Waits for what comes next, and refuses who lets it wait too long."""

    def __init__(self, settings: Http) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + settings.body_timeout_s
        self._under_way = Underway(settings.body_bytes_per_s, settings.body_stall_s)
        self.came(0)

    def came(self, size: int) -> None:
        """So many bytes have come."""
        self._under_way.came(size, self._loop.time(), ended=False)

    async def next(self, request: Request) -> MutableMapping[str, Any]:
        """The next message about ``request``; raises Refused and ClientLeft."""
        coming = asyncio.ensure_future(request.receive())
        try:
            while not coming.done():
                await asyncio.wait({coming}, timeout=self._patience_s())
                self._check()
            return await coming
        except RayError:  # Serve's proxy gave up first
            raise ClientLeft from None
        finally:
            coming.cancel()

    def _patience_s(self) -> float:
        due = self._under_way.due
        assert due is not None
        return max(0.0, min(due, self._ends_at) - self._loop.time())

    def _check(self) -> None:
        now, due = self._loop.time(), self._under_way.due
        if now >= self._ends_at:
            raise Refused("body_slow")
        if due is not None and now >= due:
            if self._under_way.is_slow:
                raise Refused("body_slow")
            self._under_way.again(now)
