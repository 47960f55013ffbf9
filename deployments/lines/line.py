"""A line: the calling end of a channel to one replica, and the calls that it has not answered yet.

Calls overlap, and each is told from the others by its number. One that nobody waits for any longer
is cancelled there, and counts until the replica has said so (rule 3 of
``deployments.lines.channel``): so a replica that hangs is known by its unanswered calls.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

from deployments.lines.channel import LEAVING, SHOW_S, Address, CallFailed, Channel, ChannelLost

log = logging.getLogger("segstream.line")


class Line:
    """The ``End`` of a channel to one replica."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count(1)
        self._unanswered: dict[int, asyncio.Future[Any]] = {}
        self._leaving = False
        self._lost = False

    @property
    def is_open(self) -> bool:
        """Whether the replica takes calls."""
        return self._opened.done() and not self._leaving and not self._lost

    @property
    def unanswered(self) -> int:
        """Calls that the replica has, those that were cancelled included."""
        return len(self._unanswered)

    async def open(self, address: Address) -> None:
        """Connect.

        Raises:
            OSError: nobody listens there.
            ChannelLost: whoever listens there is not the replica.
            TimeoutError: whoever listens there says nothing.
        """
        channel = Channel(self, address.key, calls=True)
        try:
            async with asyncio.timeout(SHOW_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: channel, address.host, address.port
                )
                await self._opened
        except BaseException:
            channel.abort()
            raise

    async def call(self, *arguments: Any) -> Any:
        """What the replica answers.

        Raises:
            CallFailed: it could not.
            ChannelLost: it went before it did.
        """
        channel = self._opened.result()
        await channel.room()
        if self._lost:
            raise ChannelLost
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        channel.send((number, arguments))
        self._unanswered[number] = answer
        try:
            outcome = await answer
        except asyncio.CancelledError:
            channel.send((number, None))
            raise
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome

    def met(self, channel: Channel) -> None:
        self._opened.set_result(channel)

    def received(self, channel: Channel, message: Any) -> None:
        number, outcome = message
        if message == LEAVING:
            self._leaving = True
        elif not (answer := self._unanswered.pop(number)).done():
            answer.set_result(outcome)
        if self._leaving and not self._unanswered:
            channel.close()

    def lost(self, channel: Channel) -> None:
        self._lost = True
        if not self._leaving and self._opened.done():
            log.warning(
                "the line to %s is lost, and %d calls with it", self._replica, self.unanswered
            )
        for future in (self._opened, *self._unanswered.values()):
            if not future.done():
                future.set_exception(ChannelLost())
        self._unanswered.clear()
