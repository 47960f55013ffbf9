"""The control lane of a stream: what is asked, and what the server says beside the results.

Rules
1. A request is answered once, over any number of connections. It fails when
   its session is over, and at its deadline, which goes on while away.
2. Control messages are numbered without gaps. One that was seen is ignored; a
   gap is a protocol error.
3. A new session is brought to what the old one had confirmed, one request
   after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from client.choices import Choices
from client.link import Link
from client.outcomes import Closed, End, NoReply, Refused
from client.requests import Requests
from ingress.wire.replies import Error, ServerMessage, Stats, Welcome
from ingress.wire.requests import ClientMessage, SubscribeStats
from ingress.wire.text import type_of
from ingress.wire.words import BadMessage, ErrorCode, RequestId

_RESTORE_TIMEOUT_S = 180.0

Reply = TypeVar("Reply", bound=ServerMessage)


class ControlLane:
    """One for the life of a stream; it begins over ``link``.

    Attributes:
        received: the highest number of a control message in this session; 0 before the first.
    """

    def __init__(self, link: Link) -> None:
        self.received = 0
        self._requests = Requests()
        self._choices = Choices()
        self._link: Link | None = link
        self._end: End | None = None
        self._changed = asyncio.Event()

    # -- out ------------------------------------------------------------------

    async def ask(self, message: ClientMessage, kind: type[Reply], timeout_s: float) -> Reply:
        """Send a request and wait for its reply, which is of ``kind``.

        Raises:
            Refused: the server answered with an error, or with something else.
            NoReply: nothing came within ``timeout_s``.
            Closed: the session of the request is over.
        """
        match await self._answer(message, timeout_s):
            case Error(code=code, message=words):
                raise Refused(code, words)
            case kind() as reply:
                return reply
            case End() as end:
                raise Closed(end)
            case _:
                raise Refused(ErrorCode.BAD_MESSAGE, "the server answered with another message")

    async def subscribe(self, interval_s: float, timeout_s: float) -> Stats:
        """Ask for statistics at that interval; a new session is asked for them too."""
        message = SubscribeStats(type="subscribe_stats", interval_s=interval_s)
        stats = await self.ask(message, Stats, timeout_s)
        self._choices.on_subscribed(interval_s)
        return stats

    async def restore(self, welcome: Welcome, tell: Callable[[ErrorCode, str], None]) -> None:
        """Bring a new session to what was chosen in the old one; ``tell`` hears what failed."""
        try:
            for message in self._choices.lacking(welcome):
                match await self._answer(message, _RESTORE_TIMEOUT_S):
                    case Error(code=code, message=words):
                        tell(code, words)
        except NoReply as late:
            tell(ErrorCode.OVERLOADED, str(late))

    async def _answer(self, message: ClientMessage, timeout_s: float) -> ServerMessage | End:
        request = None
        try:
            async with asyncio.timeout(timeout_s):
                link = await self._linked()
                request = self._requests.open(message)
                link.post(request.text)
                return await request.answer
        except TimeoutError:
            raise NoReply(type_of(type(message)), timeout_s) from None
        finally:
            if request is not None:
                self._requests.close(request)

    async def _linked(self) -> Link:
        while (link := self._link) is None:
            if self._end is not None:
                raise Closed(self._end)
            self._changed.clear()
            await self._changed.wait()
        return link

    # -- in -------------------------------------------------------------------

    def is_new(self, message: ServerMessage) -> bool:
        """Whether a message is to be taken; a server of before resume numbers none.

        Raises:
            BadMessage: messages before it are lost.
        """
        number = message.control_seq
        if number is None:
            return True
        if number > self.received + 1:
            raise BadMessage(f"control_seq {number} after {self.received}: messages are lost")
        is_new = number > self.received
        self.received = max(self.received, number)
        return is_new

    def take(self, message: ServerMessage) -> bool:
        """Take a new message; whether it was the reply to a request."""
        self._choices.on_confirmed(message)
        return self._requests.settle(message)

    # -- the connections ------------------------------------------------------

    def detach(self) -> None:
        """There is no connection; requests wait for the next one."""
        self._link = None

    def resume(self, link: Link, last: RequestId | None) -> None:
        """The session goes on over ``link``; the server received requests up to ``last``.

        Raises:
            BadMessage: ``last`` was never sent.
        """
        for text in self._requests.after(last):
            link.post(text)
        self._attach(link)

    def restart(self, link: Link, lost: End) -> None:
        """A new session took the place of the one that ended with ``lost``."""
        self.fail(lost)
        self.received = 0
        self._attach(link)

    def fail(self, end: End) -> None:
        """The session is over: nothing under way will have a reply."""
        self._requests.fail(end)

    def finish(self, end: End) -> None:
        """There will be no other connection: what waits and what is asked from now on fails."""
        self._link, self._end = None, end
        self.fail(end)
        self._changed.set()

    def _attach(self, link: Link) -> None:
        self._link = link
        self._changed.set()
