"""The side that calls: a line to each replica of one pool.

Serve knows which replicas there are, so they are asked through it where they answer calls: when
there is no line, and now and then while calls are made, for a replica that came meanwhile. An
idle application asks nobody.

Rules
1. A call goes to the replica that has the fewest unanswered ones, those that nobody waits for
   any longer included: one that hangs is given no more while another answers.
2. A replica that leaves is given no more calls, and its line ends with its last answer.
3. Where no replica is to be found, calls fail after a look around, which takes a moment at least:
   failures come no faster than somebody could appear.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.serve.handle import DeploymentHandle

from deployments.lines.channel import Address, ChannelLost
from deployments.lines.line import Line
from deployments.serve.handles import apart, each_outcome, over_grpc
from models.work import FrameOutcome, FrameRequest

log = logging.getLogger("segstream.caller")

_LOOK_EVERY_S = 2.0  # while calls are made
_LOOK_AGAIN_S = 0.25  # while nobody is there
_ASK_S = 2.0


class NoReplica(Exception):
    """Nobody is there to take a call; the words are for the log."""


class Caller:
    """The lines of this replica to those of one pool."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._pool = handle.deployment_name
        self._handle = over_grpc(handle)
        self._lines: dict[str, Line] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")
        self._seen = ""  # in the last look around: why nobody was found

    async def call(self, mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        """What one of the replicas answers.

        Raises:
            NoReplica: there is none.
            CallFailed, ChannelLost: see ``Line.call``.
        """
        line = self._freest()
        if line is None:
            await asyncio.shield(self._look())
            line = self._freest()
            if line is None:
                raise NoReplica(self._seen)
        elif asyncio.get_running_loop().time() - self._looked_at > _LOOK_EVERY_S:
            self._look().add_done_callback(_tell_of_a_bug)  # which nobody else waits for
        return await line.call(mode, frames)

    def _freest(self) -> Line | None:
        there = (line for line in self._lines.values() if line.is_open)
        return min(there, key=lambda line: line.unanswered, default=None)

    def _look(self) -> asyncio.Task[None]:
        """The look around that is under way; one at a time."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_around())
        return self._looking

    async def _look_around(self) -> None:
        began_at = self._looked_at = asyncio.get_running_loop().time()
        for replica in [name for name, line in self._lines.items() if not line.is_open]:
            del self._lines[replica]
        ask = partial(apart, self._handle.broadcast, "address", ray.util.get_node_ip_address())
        answers = await each_outcome(ask, _ASK_S)
        addresses = [answer for answer in answers if isinstance(answer, Address)]
        failed = {type(answer).__name__ for answer in answers if isinstance(answer, Exception)}
        self._seen = ", ".join(sorted(failed)) or "none is to be reached"
        await asyncio.gather(*(self._open(a) for a in addresses if a.replica not in self._lines))
        if self._freest() is None:
            await asyncio.sleep(began_at + _LOOK_AGAIN_S - asyncio.get_running_loop().time())

    async def _open(self, address: Address) -> None:
        line = Line(address.replica)
        try:
            await line.open(address)
        except (OSError, TimeoutError, ChannelLost) as error:
            log.warning(
                "%s: replica %s, which Serve lists, is not to be reached at %s port %d: %r",
                self._pool, address.replica, address.host, address.port, error,
            )  # fmt: skip
        else:
            self._lines[address.replica] = line


def _tell_of_a_bug(look: asyncio.Task[None]) -> None:
    if not look.cancelled() and (error := look.exception()):
        log.error("a look around failed unforeseen; calls go to whom it found", exc_info=error)
