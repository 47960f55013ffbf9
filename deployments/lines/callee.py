"""The side that is called: a port of this replica, and the calls that came in by it.

It listens on the address by which Ray knows the node, on a port that the system chooses, from
the first time that it is asked for. A caller that has gone takes its calls with it; a replica that
is to stop lets its callers have what is due to them (rule 4 of ``deployments.lines.channel``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from deployments.lines.channel import LEAVING, SHOW_S, Address, CallFailed, Channel, Key

log = logging.getLogger("segstream.callee")

_STRANGERS = 64  # connections that have not shown the key yet; the oldest gives way


class Callee:
    """The ``End`` of every channel into this replica."""

    def __init__(self, replica: str, host: str, answer: Callable[..., Awaitable[Any]]) -> None:
        """``answer`` is awaited with the arguments of each call."""
        self._replica = replica
        self._host = host
        self._answer = answer
        self._key = Key()
        self._opening = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._address: Address | None = None
        self._strangers: dict[Channel, asyncio.TimerHandle] = {}
        self._callers: dict[Channel, dict[int, asyncio.Task[Any]]] = {}
        self._alone = asyncio.Event()
        self._alone.set()

    @property
    def listens(self) -> bool:
        """Whether callers can come."""
        return self._server is not None and self._server.is_serving()

    async def address(self) -> Address:
        """Where this replica answers calls; where it did, after it left."""
        async with self._opening:
            if self._address is None:
                loop = asyncio.get_running_loop()
                self._server = await loop.create_server(self._channel, self._host, 0)
                port = self._server.sockets[0].getsockname()[1]
                self._address = Address(self._replica, self._host, port, self._key)
        return self._address

    async def leave(self) -> None:
        """Take no more calls, and return when every caller has had its answers, or has gone.

        A caller that hangs is not waited for longer than Serve waits: its shutdown timeout.
        """
        if self._server is not None:
            self._server.close()
        for stranger in self._strangers:
            stranger.abort()
        for caller in self._callers:
            caller.send(LEAVING)
        await self._alone.wait()

    def _channel(self) -> Channel:
        if len(self._strangers) >= _STRANGERS:
            next(iter(self._strangers)).abort()
        channel = Channel(self, self._key, calls=False)
        loop = asyncio.get_running_loop()
        self._strangers[channel] = loop.call_later(SHOW_S, channel.abort)
        return channel

    def met(self, channel: Channel) -> None:
        self._strangers.pop(channel).cancel()
        self._callers[channel] = {}
        self._alone.clear()

    def received(self, channel: Channel, message: Any) -> None:
        calls = self._callers[channel]
        number, arguments = message
        if arguments is not None:
            call = asyncio.get_running_loop().create_task(self._call(arguments))
            calls[number] = call
            call.add_done_callback(lambda _: calls.pop(number))
            call.add_done_callback(partial(self._answered, channel, number))
        elif number in calls:  # else its answer is on the way
            calls[number].cancel()

    def lost(self, channel: Channel) -> None:
        if stranger := self._strangers.pop(channel, None):
            stranger.cancel()
        for call in self._callers.pop(channel, {}).values():
            call.cancel()
        if not self._callers:
            self._alone.set()

    async def _call(self, arguments: tuple[Any, ...]) -> Any:
        # Here they are unpacked, so that what another version of the code sends fails alone.
        return await self._answer(*arguments)

    def _answered(self, channel: Channel, number: int, call: asyncio.Task[Any]) -> None:
        # Not in the task itself: where its cancellation came in one piece with the call, as
        # uvloop reads them, it ends before its first step.
        outcome: Any
        if call.cancelled():
            outcome = CallFailed("cancelled")
        elif error := call.exception():
            log.warning("a call failed", exc_info=error)
            outcome = CallFailed(type(error).__name__)
        else:
            outcome = call.result()
        try:
            channel.send((number, outcome))
        except CallFailed as failure:
            channel.send((number, failure))
