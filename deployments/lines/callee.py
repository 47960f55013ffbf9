"""The side that is called: the ports of this replica, and the calls that came in by them.

Who asks from the replica's own node is given a port on loopback, who asks from another node one on
the address that this replica is known by there; each port is opened for the first who needs it,
and the system chooses its number. So where a cluster is one machine, nothing listens to the
outside. A caller that has gone takes its calls with it; a replica that is to stop lets its
callers have what is due to them (rule 4 of ``deployments.lines.channel``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from deployments.lines.channel import SHOW_S, Address, CallFailed, Channel
from deployments.lines.handshake import Key
from deployments.lines.messages import (
    Answer,
    Call,
    Cancel,
    Leaving,
    NotUnderstood,
    Parts,
    Refusal,
    read_request,
)
from models.work import FrameOutcome, FrameRequest

log = logging.getLogger("segstream.callee")

_LOOPBACK = "127.0.0.1"
_STRANGERS = 64  # connections that have not come through the handshake; the oldest gives way

Answerer = Callable[[str, Sequence[FrameRequest]], Awaitable[Sequence[FrameOutcome]]]


class Callee:
    """The ``End`` of every channel into this replica."""

    def __init__(self, replica: str, node: str, answer: Answerer) -> None:
        """``node`` is the address of this one; ``answer`` is awaited for each call."""
        self._replica = replica
        self._node = node
        self._answer = answer
        self._key = Key()
        self._opening = asyncio.Lock()
        self._ports: list[asyncio.Server] = []
        self._addresses: dict[str, Address] = {}
        self._left = False
        self._strangers: dict[Channel, asyncio.TimerHandle] = {}
        self._callers: dict[Channel, dict[int, asyncio.Task[Parts]]] = {}
        self._alone = asyncio.Event()
        self._alone.set()

    @property
    def listens(self) -> bool:
        """Whether callers can come."""
        return any(port.is_serving() for port in self._ports)

    async def address(self, asker: str) -> Address:
        """Where this replica answers calls from the node ``asker``; where it did, after it left.

        Raises:
            CallFailed: it has left, and has never answered calls from there.
        """
        host = _LOOPBACK if asker == self._node else self._node
        async with self._opening:
            if host not in self._addresses:
                await self._open(host)
        return self._addresses[host]

    async def leave(self) -> None:
        """Take no more calls, and return when every caller has had its answers, or has gone.

        A caller that hangs is not waited for longer than Serve waits: its shutdown timeout.
        """
        async with self._opening:
            self._left = True
        for port in self._ports:
            port.close()
        for stranger in self._strangers:
            stranger.abort()
        for caller in self._callers:
            caller.send(Leaving().parts())
        await self._alone.wait()

    async def _open(self, host: str) -> None:
        if self._left:
            raise CallFailed("this replica takes no more calls")
        loop = asyncio.get_running_loop()
        port = await loop.create_server(self._channel, host, 0)
        self._ports.append(port)
        number = port.sockets[0].getsockname()[1]
        self._addresses[host] = Address(self._replica, host, number, self._key)

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

    def received(self, channel: Channel, body: memoryview) -> None:
        calls = self._callers[channel]
        match read_request(body):
            case Call(number) if number in calls:
                raise NotUnderstood(f"another call {number} while that is under way")
            case Call(number) as call:
                task = asyncio.get_running_loop().create_task(self._call(call))
                calls[number] = task
                task.add_done_callback(lambda _: calls.pop(number))
                task.add_done_callback(partial(self._answered, channel, number))
            case Cancel(number) if number in calls:  # else its answer is on the way
                calls[number].cancel()

    def lost(self, channel: Channel, why: str) -> None:
        if stranger := self._strangers.pop(channel, None):
            stranger.cancel()
            if why:
                log.warning("somebody was turned away at a port for calls: %s", why)
        elif why:
            log.warning("a caller is let go: it sent %s", why)
        for call in self._callers.pop(channel, {}).values():
            call.cancel()
        if not self._callers:
            self._alone.set()

    async def _call(self, call: Call) -> Parts:
        outcomes = await self._answer(call.mode, call.frames)
        return Answer(call.number, outcomes).parts()

    def _answered(self, channel: Channel, number: int, call: asyncio.Task[Parts]) -> None:
        # Not in the task itself: where its cancellation came in one piece with the call, as
        # uvloop reads them, it ends before its first step.
        if call.cancelled():
            parts = Refusal(number, "cancelled").parts()
        elif error := call.exception():
            log.warning("a call failed", exc_info=error)
            parts = Refusal(number, type(error).__name__).parts()
        else:
            parts = call.result()
        try:
            channel.send(parts)
        except CallFailed as failure:
            channel.send(Refusal(number, str(failure)).parts())
