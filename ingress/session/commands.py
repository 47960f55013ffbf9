"""What a client can ask beside sending frames: mode, view, statistics.

A command never holds up the reader: those that must wait for a deployment run
as tasks of the session, a bounded number of them at once. Each gets exactly
one reply, which carries its id; where the connection ends first, the reply says
so, for a client that resumes. The newest ``change_mode`` wins; one that it
overtakes is told so.
"""

from __future__ import annotations

import asyncio
import logging

from pydantic import ValidationError

from ingress.dispatch.flight import ModeFailed
from ingress.resume.parked import SessionSettings
from ingress.service import Service, StatsFailed
from ingress.session.figures import Figures
from ingress.session.mailbox import Mailbox
from ingress.session.outbox import Outbox
from ingress.session.progress import Progress
from ingress.session.scene import Scene
from ingress.tasks import named
from ingress.wire.explain import explain, nearest
from ingress.wire.replies import Error, ModeChanged, Stats, VizUpdated
from ingress.wire.requests import ChangeMode, GetStats, SubscribeStats, UpdateViz
from ingress.wire.words import BadMessage, ErrorCode, RequestId
from models.view import UnknownClass, View

log = logging.getLogger("segstream.commands")

MIN_INTERVAL_S = 0.2

Command = ChangeMode | UpdateViz | GetStats | SubscribeStats

_CUT_SHORT = "the connection ended before this was done; ask again"


class Commands:
    """The commands of one session."""

    def __init__(
        self,
        service: Service,
        scene: Scene,
        mailbox: Mailbox,
        progress: Progress,
        figures: Figures,
        outbox: Outbox,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._service = service
        self._scene = scene
        self._mailbox = mailbox
        self._progress = progress
        self._figures = figures
        self._outbox = outbox
        self._tasks = tasks
        self._under_way: dict[asyncio.Task[None], ChangeMode | GetStats | SubscribeStats] = {}
        self._mode_change = 0
        self._subscription: asyncio.Task[None] | None = None
        self._stats_every_s = 0.0
        self._at_first = self.in_force

    @property
    def as_at_first(self) -> bool:
        """Whether what is in force is what every new session begins with."""
        return self.in_force == self._at_first

    @property
    def in_force(self) -> SessionSettings:
        """What outlives the connection: mode, view, subscription."""
        return SessionSettings(self._scene.mode, self._scene.view, self._stats_every_s)

    def adopt(self, settings: SessionSettings) -> None:
        """Put settings in force that outlived a connection."""
        self._scene.adopt(settings.mode, settings.view)
        self._subscribe(settings.stats_every_s)

    def handle(self, command: Command) -> None:
        """Carry out ``command``, now or in a task; replies go to the outbox.

        Raises:
            BadMessage: no such mode, or settings that are refused.
        """
        match command:
            case UpdateViz():
                self._update_viz(command)
            case ChangeMode() if command.model_mode not in self._service.modes:
                why = self._unknown(command.model_mode)
                raise BadMessage(why, ErrorCode.INVALID_MODE, reply_to=command.id)
            case ChangeMode() | GetStats() | SubscribeStats():
                self._start(command)

    def _start(self, command: ChangeMode | GetStats | SubscribeStats) -> None:
        limit = self._service.settings.limits.max_commands
        if len(self._under_way) >= limit:
            why = f"{limit} commands are under way; wait for a reply before the next"
            self._refuse(command.id, ErrorCode.RATE_LIMITED, why)
            return
        if isinstance(command, ChangeMode):
            self._mode_change += 1
            work = self._change_mode(command, self._mode_change)
        else:
            work = self._send_stats(command.id)
        if isinstance(command, SubscribeStats):
            self._subscribe(command.interval_s)
            self._changed()
        task = self._tasks.create_task(work, name=named(command.type))
        self._under_way[task] = command
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            del self._under_way[task]

    def end(self) -> None:
        """Answer the commands that the end of the connection, or a bug, cut short."""
        for command in self._under_way.values():
            changing = isinstance(command, ChangeMode)
            code = ErrorCode.MODE_CHANGE_FAILED if changing else ErrorCode.STATS_FAILED
            self._refuse(command.id, code, _CUT_SHORT)
        self._under_way.clear()

    async def _change_mode(self, command: ChangeMode, turn: int) -> None:
        mode = command.model_mode
        timeout_s = self._service.settings.batching.prepare_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._service.analyzer.prepare(mode)
        except ModeFailed as error:
            log.warning("mode %s was asked for and is not to be had: %s", mode, error)
            self._refuse(command.id, ErrorCode.MODE_CHANGE_FAILED, str(error))
            return
        except TimeoutError:
            why = f"{mode} was not ready within {timeout_s:g} s; {self._scene.mode} goes on"
            self._refuse(command.id, ErrorCode.MODE_CHANGE_FAILED, why)
            return
        if turn != self._mode_change:
            why = f"a newer change_mode took the place of this one to {mode}"
            self._refuse(command.id, ErrorCode.MODE_CHANGE_FAILED, why)
            return
        self._mailbox.switch(mode)
        self._changed()
        self._outbox.put(
            ModeChanged(reply_to=command.id, model_mode=mode, class_labels=self._scene.labels)
        )

    def _update_viz(self, command: UpdateViz) -> None:
        try:
            self._scene.lay_over(command.settings)
        except (ValidationError, UnknownClass) as error:
            why = explain(error, View) if isinstance(error, ValidationError) else str(error)
            code = ErrorCode.VIZ_UPDATE_FAILED
            raise BadMessage(why, code, reply_to=command.id) from None
        self._changed()
        settings = self._scene.view.model_dump(mode="json")
        self._outbox.put(VizUpdated(reply_to=command.id, settings=settings))

    async def _send_stats(self, reply_to: RequestId | None) -> None:
        masks = list(self._scene.masks)
        try:
            scene = await self._service.analyst.scene(self._scene.mode, masks)
        except StatsFailed as error:
            self._refuse(reply_to, ErrorCode.STATS_FAILED, str(error))
            return
        now = asyncio.get_running_loop().time()
        mean, least, greatest = self._figures.inference_ms()
        self._outbox.put(
            Stats(
                reply_to=reply_to,
                avg_inference_ms=mean,
                min_inference_ms=least,
                max_inference_ms=greatest,
                avg_fps=self._figures.fps(now),
                session={"mode": self._scene.mode, **self._figures.summary(now)},
                scene=dict(scene),
                server=await self._service.load(),
            )
        )

    def _changed(self) -> None:
        """Have the settings in force written to the store."""
        if self._progress.hold is not None:
            self._progress.hold.change(self.in_force)

    def _subscribe(self, interval_s: float) -> None:
        """Replace the subscription; the statistics at its start, or end, are a reply of their own.

        They are not part of it, so a newer subscription takes no reply away.
        """
        self._stats_every_s = interval_s
        if self._subscription is not None:
            self._subscription.cancel()
            self._subscription = None
        if interval_s:
            work = self._send_stats_every(max(interval_s, MIN_INTERVAL_S))
            self._subscription = self._tasks.create_task(work, name=named("subscription"))

    async def _send_stats_every(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await self._send_stats(None)

    def _unknown(self, mode: str) -> str:
        known = self._service.modes
        hint = nearest(mode, known) or f"; known are {', '.join(known)}"
        return f"model_mode: no such mode{hint}"

    def _refuse(self, reply_to: RequestId | None, code: ErrorCode, why: str) -> None:
        self._outbox.put(Error(reply_to=reply_to, code=code, message=why))
