"""A stream that outlives its connections: lost, it comes back and has its session resumed.

Rules
1. The close code decides whether to come back, and when (``client.reconnect``).
   A session that the server does not keep, or keeps no longer, is followed by a
   new one: requests under way fail, mode, view and subscription are asked for
   again.
2. Every attempt has a deadline, and all attempts of one absence together.
3. The resume token lives in memory alone. A sign-in token that is a function is asked for anew
   before each connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from client.connect import living
from client.dial import Opened, dial
from client.outcomes import LOST, Closed, End, NoReply, Refused, Unreachable
from client.reconnect import HELD_S, delay_s
from client.stream import Stream
from client.token import Token, given
from ingress.wire.requests import Hello, ResumeRequest
from ingress.wire.words import BadMessage, ErrorCode

_PROTOCOL_ERROR, _POLICY, _TRY_AGAIN_LATER, _AUTH_REJECTED = 1002, 1008, 1013, 3000
_REFUSALS = {
    ErrorCode.OVERLOADED: _TRY_AGAIN_LATER,
    ErrorCode.RATE_LIMITED: _TRY_AGAIN_LATER,
    ErrorCode.UNAUTHORIZED: _AUTH_REJECTED,
}


@dataclass(frozen=True, slots=True)
class Away:
    """There is no connection; the next attempt is in ``retry_s``."""

    end: End
    retry_s: float


@dataclass(frozen=True, slots=True)
class Back:
    """There is a connection again: the session went on, or ``why`` a new one took its place."""

    resumed: bool
    why: str | None
    after_s: float


Change: TypeAlias = Away | Back
Notify = Callable[[Change], None]


def _ignore(change: Change) -> None:
    pass


@asynccontextmanager
async def session(
    url: str,
    *,
    max_in_flight: int | None = None,
    client: str = "segstream-python",
    token: Token = None,
    timeout_s: float = 10.0,
    patience_s: float = 120.0,
    notify: Notify = _ignore,
) -> AsyncIterator[Stream]:
    """A stream that survives lost connections and restarts of the server.

    The first connection fails as with ``connect``, whose arguments these are.

    Args:
        patience_s: after so long without a connection the stream ends with Closed.
        notify: told of every absence and return; it must not block.

    Raises:
        Unreachable, Refused, Closed, NoReply: as ``connect``.
    """

    async def attempt(resume: ResumeRequest | None) -> Opened:
        hello = Hello(type="hello", client=client, token=given(token), resume=resume)
        return await dial(url, hello, timeout_s)

    stream = Stream(await attempt(None), max_in_flight)
    async with living(stream, _Life(stream, attempt, patience_s, notify).run()):
        yield stream


class _Life:
    """One connection after the other, until an end is final."""

    def __init__(
        self,
        stream: Stream,
        attempt: Callable[[ResumeRequest | None], Awaitable[Opened]],
        patience_s: float,
        notify: Notify,
    ) -> None:
        self._stream = stream
        self._attempt = attempt
        self._patience_s = patience_s
        self._notify = notify
        self._now = asyncio.get_running_loop().time
        self._failures = 0

    async def run(self) -> None:
        end = LOST
        try:
            while True:
                held_from = self._now()
                end = await self._stream.serve()
                if self._stream.leaving:
                    return
                if self._now() - held_from > HELD_S:
                    self._failures = 0
                final = await self._come_back(end)
                if final is not None:
                    end = final
                    return
        finally:
            self._stream.finish(end)

    async def _come_back(self, lost: End) -> End | None:
        """None when there is a connection again, else the end that is final."""
        end, lost_at = lost, self._now()
        while True:
            delay = delay_s(end, self._failures)
            if delay is None or self._now() + delay > lost_at + self._patience_s:
                return end
            self._failures += 1
            self._notify(Away(end, delay))
            await asyncio.sleep(delay)
            try:
                opened = await self._attempt(self._stream.resume)
            except (Unreachable, NoReply) as error:
                end = End(LOST.code, str(error), LOST.retry_ms)
            except Closed as closed:
                end = closed.end
            except Refused as refused:
                end = End(_REFUSALS.get(refused.code, _POLICY), str(refused), LOST.retry_ms)
            else:
                return self._attach(opened, lost, self._now() - lost_at)

    def _attach(self, opened: Opened, lost: End, after_s: float) -> End | None:
        try:
            self._stream.attach(opened, lost)
        except BadMessage as bad:
            opened.socket.transport.abort()
            return End(_PROTOCOL_ERROR, f"the server sent {bad}", LOST.retry_ms)
        self._notify(Back(opened.welcome.resumed, opened.welcome.why, after_s))
        return None
