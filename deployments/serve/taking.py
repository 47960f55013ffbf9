"""Whether a peer takes what waits for it in the buffer of its socket.

What counts is progress: who took something within ``patience_s`` lives, however slowly it goes on.
A transport tells when its buffer is full and when it is empty again, and nothing in between, so in
between this looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

_LOOKS = 4  # in the time that a peer has


class Taking:
    """The watch over one transport; ``progressed`` is told of progress, ``stalled`` of none."""

    def __init__(
        self,
        transport: asyncio.Transport,
        patience_s: float,
        stalled: Callable[[], None],
        progressed: Callable[[], None] = lambda: None,
    ) -> None:
        self._transport = transport
        self._patience_s = patience_s
        self._stalled = stalled
        self._progressed = progressed
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None
        self._left_bytes = 0
        self._took_at = -inf

    @property
    def is_lately(self) -> bool:
        """Whether something was taken within the last ``patience_s``."""
        return self._loop.time() < self._took_at + self._patience_s

    def begin(self) -> None:
        """The buffer is full."""
        self._left_bytes = self._transport.get_write_buffer_size()
        self._took_at = self._loop.time()
        self._look_later()

    def end(self) -> None:
        """The buffer is empty again."""
        self._took_at = self._loop.time()
        self.cancel()

    def cancel(self) -> None:
        """Look no more."""
        if self._look:
            self._look.cancel()

    def _look_later(self) -> None:
        self._look = self._loop.call_later(self._patience_s / _LOOKS, self._look_now)

    def _look_now(self) -> None:
        left = self._transport.get_write_buffer_size()
        if left < self._left_bytes:
            self._took_at = self._loop.time()
            self._progressed()
        self._left_bytes = left
        if self.is_lately:
            self._look_later()
        else:
            self._stalled()
