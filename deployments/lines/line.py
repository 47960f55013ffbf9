"""A line: the calling end of a channel to one replica, and the calls that it has not answered yet.

Calls overlap, and each is told from the others by its number. One that nobody waits for any longer
is cancelled there, and counts until the replica has said so (rule 3 of
``deployments.lines.channel``): so a replica that hangs is known by its unanswered calls.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import Any

from deployments.lines.channel import SHOW_S, Address, CallFailed, Channel, ChannelLost
from deployments.lines.messages import (
    Answer,
    Call,
    Cancel,
    Leaving,
    NotUnderstood,
    Refusal,
    read_reply,
)
from models.work import FrameOutcome, FrameRequest

log = logging.getLogger("segstream.line")

Outcome = Sequence[FrameOutcome] | CallFailed


class Line:
    """The ``End`` of a channel to one replica."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count(1)
        self._unanswered: dict[int, asyncio.Future[Outcome]] = {}
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
            ChannelLost: whoever listens there is not the replica, or of another version.
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

    async def call(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
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
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        channel.send(Call(number, mode, frames).parts())
        self._unanswered[number] = answer
        try:
            outcome = await answer
        except asyncio.CancelledError:
            channel.send(Cancel(number).parts())
            raise
        if isinstance(outcome, CallFailed):
            raise outcome
        return outcome

    def met(self, channel: Channel) -> None:
        self._opened.set_result(channel)

    def received(self, channel: Channel, body: memoryview) -> None:
        match read_reply(body):
            case Answer(number, outcomes):
                self._answered(number, outcomes)
            case Refusal(number, why):
                self._answered(number, CallFailed(why))
            case Leaving():
                self._leaving = True
        if self._leaving and not self._unanswered:
            channel.close()

    def lost(self, channel: Channel, why: str) -> None:
        self._lost = True
        was_open = self._opened.done() and not self._opened.cancelled()
        if was_open and (why or not self._leaving):
            log.warning(
                "the line to %s is lost, and %d calls with it%s",
                self._replica, self.unanswered, why and f": it sent {why}",
            )  # fmt: skip
        waiting: list[asyncio.Future[Any]] = [self._opened, *self._unanswered.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ChannelLost(why))
        self._unanswered.clear()

    def _answered(self, number: int, outcome: Outcome) -> None:
        answer = self._unanswered.pop(number, None)
        if answer is None:
            raise NotUnderstood(f"an answer to call {number}, which is not under way")
        if not answer.done():
            answer.set_result(outcome)
