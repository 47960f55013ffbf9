"""uvicorn's HTTP, for peers that say nothing, drip their request, or do not take the answer.

uvicorn has a timeout for a connection that is idle between two requests, and for nothing else: a
socket that never says a word, or one letter of a header a second, is there for as long as it
likes. Rules:

1. From the moment that a connection is made, or that it begins to speak again after an answer,
   ``head_timeout_s`` pass at most until the head of a request has come: a WebSocket's handshake,
   too. Bodies are the app's to wait for (``deployments.body``): only it can refuse them in words.
2. A peer that takes nothing of an answer for ``patience_s`` is aborted; who takes it slowly lives.
3. What is still in the buffer when a connection is closed has as long to leave.

Like the WebSocket's, the class may be sent to a proxy that cannot import this module. It lies over
whatever class uvicorn was configured with, by the methods in ``NEEDED``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from deployments.serve.taking import Taking

NEEDED = (
    "connection_lost",
    "connection_made",
    "data_received",
    "on_response_complete",
    "pause_writing",
    "resume_writing",
    "timeout_keep_alive_handler",
)

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientHttp(asyncio.Protocol):
    """What the equipment lays over uvicorn's class; the traits are those of the class it makes."""

    head_timeout_s: float
    patience_s: float

    # Of uvicorn's class.
    loop: asyncio.AbstractEventLoop
    transport: Any
    cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None
        self._farewell: asyncio.TimerHandle | None = None
        self._spoke = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._taking = Taking(transport, self.patience_s, transport.abort)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        self._spoke = True
        super().data_received(data)
        if self._answers or self.transport.get_protocol() is not self:  # or a WebSocket took over
            self._drop_head()
        elif self._head is None:
            self._watch_head()

    @property
    def _answers(self) -> bool:
        """Whether the head of a request has come that has no answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch_head(self) -> None:
        self._head = self.loop.call_later(self.head_timeout_s, self._head_is_late)

    def _drop_head(self) -> None:
        if self._head:
            self._head.cancel()
            self._head = None

    def _head_is_late(self) -> None:
        self._head = None
        if self._answers or self.transport.is_closing():
            return
        if self._spoke and self.cycle is None:
            self.transport.write(TOO_SLOW)
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._watch_farewell()

    def _watch_farewell(self) -> None:
        if self._farewell is None:
            self._farewell = self.loop.call_later(self.patience_s, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        if self.transport.is_closing():
            self._watch_farewell()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()  # type: ignore[misc]
        self._watch_farewell()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking.begin()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking.end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._taking.cancel()
        self._drop_head()
        if self._farewell:
            self._farewell.cancel()
