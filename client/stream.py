"""Frames out, outcomes in: over one connection, or over as many as a session takes.

Rules
1. Every frame sent ends in exactly one outcome. A lost connection is one, for
   the frames that were unanswered: video does not wait.
2. What is asked goes beside the frames (``client.lane``), and outlives a lost
   connection with its session.
3. Everything that waits here is woken when the last connection ends.

Send and read from two tasks: ``send`` waits while ``max_in_flight`` frames are
without an outcome that was read, and while there is no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from client.dial import Opened
from client.lane import ControlLane
from client.ledger import Ledger
from client.link import Link
from client.outcomes import Closed, End, NoResult, Outcome
from ingress.wire.pictures import Result
from ingress.wire.replies import Dropped, Error, ModeChanged, ServerMessage, Stats, VizUpdated
from ingress.wire.requests import ChangeMode, GetStats, ResumeRequest, UpdateViz


class Stream:
    """Made by ``client.connect``, for one connection, and by ``client.session``.

    Iterating gives an ``Outcome`` per frame in the order in which they came,
    and ``Failed`` without a ``frame_seq`` for errors about no one frame. It
    ends when this side closes, and raises Closed when there will be no more.

    Attributes:
        welcome: what the server said last on opening: limits, modes.
        mode, viz: the mode and the settings in force.
        stats: the newest statistics, asked for or subscribed to.
        end: how the last connection ended; None while there is one, or may be again.
    """

    def __init__(self, opened: Opened, max_in_flight: int | None) -> None:
        self.welcome = opened.welcome
        self.mode = opened.welcome.mode
        self.viz: Mapping[str, Any] = opened.welcome.viz
        self.stats: Stats | None = None
        self.end: End | None = None
        self._max_in_flight = max_in_flight
        self._ledger = Ledger(self._limit())
        self._link: Link | None = Link(opened.socket, opened.welcome, self._ledger)
        self._lane = ControlLane(self._link)
        self._leaving = self._resumable = self._restoring = False
        self._room, self._arrived = asyncio.Event(), asyncio.Event()

    # -- frames ---------------------------------------------------------------

    async def send(self, image: bytes) -> int:
        """Send one JPEG, PNG or WebP; returns its seq, waiting for room in flight first.

        Raises:
            Closed: the last connection ended.
        """
        return await self._send(image, None)

    async def segment(self, image: bytes) -> Result:
        """Send one picture and wait for its result; iterating does not see it.

        Raises:
            NoResult: the frame was refused, failed or dropped.
            Closed: the last connection ended before it was sent.
        """
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def deliver(value: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(value)

        await self._send(image, deliver)
        match await outcome:
            case Result() as result:
                return result
            case lacking:
                raise NoResult(lacking)

    async def _send(self, image: bytes, deliver: Callable[[Outcome], None] | None) -> int:
        while (link := self._link) is None or self._restoring or not self._ledger.has_room:
            self._check_open()
            self._room.clear()
            await self._room.wait()
        seq = self._ledger.open(deliver)
        await link.send_frame(seq, image)
        self._check_open()
        return seq

    async def settled(self) -> None:
        """Wait until every frame sent has an outcome that was read."""
        while not self._ledger.is_settled:
            self._room.clear()
            await self._room.wait()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Outcome:
        while (outcome := self._ledger.take()) is None:
            if self.end is not None and self._leaving:
                raise StopAsyncIteration
            self._check_open()
            self._arrived.clear()
            await self._arrived.wait()
        self._room.set()
        return outcome

    # -- requests -------------------------------------------------------------

    async def change_mode(self, mode: str, timeout_s: float = 180.0) -> ModeChanged:
        """Ask for another mode; returns when it serves, which may include loading it.

        Raises (as every request): Refused, NoReply, Closed. Closed may mean that the
        session of the request is over; ``end`` is None where another took its place.
        """
        return await self._lane.ask(
            ChangeMode(type="change_mode", model_mode=mode), ModeChanged, timeout_s
        )

    async def update_viz(self, settings: Mapping[str, Any], timeout_s: float = 10.0) -> VizUpdated:
        """Lay ``settings`` over the view in force; all of them or none."""
        return await self._lane.ask(
            UpdateViz(type="update_viz", settings=dict(settings)), VizUpdated, timeout_s
        )

    async def get_stats(self, timeout_s: float = 10.0) -> Stats:
        """Statistics of this session, its scene and the server."""
        return await self._lane.ask(GetStats(type="get_stats"), Stats, timeout_s)

    async def subscribe_stats(self, interval_s: float, timeout_s: float = 10.0) -> Stats:
        """Have ``stats`` kept fresh at that interval; 0 ends it. Returns the statistics of now."""
        return await self._lane.subscribe(interval_s, timeout_s)

    # -- for connect and session ----------------------------------------------

    @property
    def leaving(self) -> bool:
        """Whether this side has ended the stream."""
        return self._leaving

    @property
    def resume(self) -> ResumeRequest | None:
        """What to show to have the session back; None where it is over."""
        token = self.welcome.resume_token
        if token is None or not self._resumable:
            return None
        return ResumeRequest(
            session=self.welcome.session,
            token=token,
            last_seq=self._ledger.received,
            last_control=self._lane.received,
        )

    async def serve(self) -> End:
        """Live until the connection ends; frames are settled, requests wait for the next one."""
        link = self._link
        assert link is not None
        try:
            async with asyncio.TaskGroup() as tasks:
                restoring = tasks.create_task(self._restore())
                end = await link.run(self._take)
                restoring.cancel()
        finally:
            self._link = None
            self._lane.detach()
            self._ledger.on_closed()
            self._wake()
        self._resumable = link.keeps
        if not self._resumable:
            self._lane.fail(end)
        return end

    def attach(self, opened: Opened, lost: End) -> None:
        """Go on over a new connection, after the one that ended with ``lost``.

        Raises:
            BadMessage: the welcome names a request that was never sent.
        """
        welcome = self.welcome = opened.welcome
        self.mode, self.viz = welcome.mode, welcome.viz
        self._ledger.limit = self._limit()
        link = Link(opened.socket, welcome, self._ledger)
        if welcome.resumed:
            self._lane.resume(link, welcome.last_request)
        else:
            self._lane.restart(link, lost)
            self._ledger.restart()
            self._restoring = True
        link.acknowledge_now()  # this welcome's token is confirmed, the one before ends
        self._link = link
        self._wake()

    async def _restore(self) -> None:
        """Bring a new session to what was chosen in the old one; frames wait for it."""
        if not self._restoring:
            return
        await self._lane.restore(self.welcome, partial(self._ledger.on_error, None))
        self._restoring = False
        self._wake()

    def finish(self, end: End) -> None:
        """There will be no other connection: wake and answer all that wait."""
        self._link, self.end = None, end
        self._ledger.on_closed()
        self._lane.finish(end)
        self._wake()

    async def close(self) -> None:
        """End the stream from this side; returns when the connection, if any, is gone."""
        self._leaving = True
        if self._link is not None:
            await self._link.close()
        while self._link is not None:
            self._room.clear()
            await self._room.wait()

    def _limit(self) -> int:
        allowed = self.welcome.max_in_flight
        return min(self._max_in_flight or allowed, allowed)

    def _wake(self) -> None:
        self._room.set()
        self._arrived.set()

    def _check_open(self) -> None:
        if self.end is not None:
            raise Closed(self.end)

    # -- what comes -----------------------------------------------------------

    def _take(self, message: Result | ServerMessage) -> None:
        if isinstance(message, Result):
            self._ledger.on_result(message)
        elif self._lane.is_new(message):
            self._on_text(message, is_reply=self._lane.take(message))
        self._wake()

    def _on_text(self, message: ServerMessage, *, is_reply: bool) -> None:
        match message:
            case Error(code=code, message=words, frame_seq=frame_seq) if not is_reply:
                self._ledger.on_error(frame_seq, code, words)
            case Dropped(frames=frames, cause=cause):
                self._ledger.on_dropped(frames, cause)
            case ModeChanged(model_mode=mode):
                self.mode = mode
            case VizUpdated(settings=settings):
                self.viz = settings
            case Stats():
                self.stats = message
