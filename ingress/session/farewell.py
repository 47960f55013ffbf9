"""How a client is let go: what is kept of it, the last words, the one line.

What is left of a session whose end was not its client's wish goes to the store
before the close frame leaves, so that a client which comes back at once finds it.
That is so of a session, too, in which nothing was said: whoever looks on, or waits for a camera,
keeps his session through a redeploy. It is marked as unused, and where its owner has more parked
than anybody it is the first to leave: what its client then gets is what it had.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.lifecycle import State
from ingress.resume.parked import ControlRing
from ingress.service import Service
from ingress.session.account import Account
from ingress.session.commands import Commands
from ingress.session.delivery import Delivery
from ingress.session.mailbox import Mailbox
from ingress.session.outbox import Outbox
from ingress.session.progress import Progress
from ingress.wire.replies import Bye
from ingress.wire.said import encoded, kind_of, size_of
from ingress.wire.words import Dialect

log = logging.getLogger("segstream.session")

_BYE = kind_of(Bye)


class Farewell:
    """The end of one session."""

    def __init__(
        self,
        service: Service,
        connection: Connection,
        dialect: Dialect,
        progress: Progress,
        mailbox: Mailbox,
        delivery: Delivery,
        commands: Commands,
        outbox: Outbox,
        ring: ControlRing,
        account: Account,
    ) -> None:
        self._service = service
        self._connection = connection
        self._dialect = dialect
        self._progress = progress
        self._mailbox = mailbox
        self._delivery = delivery
        self._commands = commands
        self._outbox = outbox
        self._ring = ring
        self._account = account
        self._parted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def parted(self) -> bool:
        """Wait until what is kept is with the store; whether anything is."""
        return await asyncio.shield(self._parted)

    def announce(self) -> None:
        """Tell the client that the replica will stop; it is served until the end."""
        self._connection.drain()
        if self._dialect is Dialect.V1 and self._connection.state is State.DRAINING:
            self._outbox.put(self._bye(Disconnect("server_shutdown")))

    async def part(self, disconnect: Disconnect) -> None:
        """Leave what is worth keeping with the store, say goodbye, close."""
        kept = False
        try:
            kept = await self._leave(disconnect)
        finally:
            if not self._parted.done():
                self._parted.set_result(kept)
            try:
                await self._say_goodbye(disconnect)
            finally:
                self._outbox.end()
                await self._connection.close(disconnect)

    async def _leave(self, disconnect: Disconnect) -> bool:
        """End the frames and the commands; whether the store has the session now."""
        parked = self._delivery.end()
        debt_ms = self._mailbox.end()
        self._commands.end()
        self._outbox.tell_drops()
        progress, hold = self._progress, self._progress.hold
        if hold is None or not disconnect.reason.kept:
            return False
        said_nothing = not self._ring.newest and progress.said_nothing
        return await hold.park(
            replace(
                parked,
                control=tuple(self._ring),
                control_seq=self._ring.newest,
                frame_seq=progress.frame_seq,
                last_request=progress.last_request,
                debt_ms=debt_ms,
                unused=said_nothing and self._commands.as_at_first,
            )
        )

    async def _say_goodbye(self, disconnect: Disconnect) -> None:
        """Send ``bye`` where the dialect has that word and it was not said.

        In DRAINING it was, unless the writer did not come to it before the end.
        """
        unsaid = self._connection.state is State.OPEN or self._outbox.holds(_BYE)
        owed = self._dialect is Dialect.V1 and disconnect.by_server and unsaid
        if owed and self._connection.is_open:
            bye = self._bye(disconnect)
            message, timeout_s = await encoded(bye), self._service.settings.limits.close_timeout_s
            if await self._connection.send(message, timeout_s):
                self._account.sent(_BYE, size_of(message))

    def _bye(self, disconnect: Disconnect) -> Bye:
        settings, reason = self._service.settings, disconnect.reason
        stopping = reason.name == "server_shutdown"
        return Bye(
            reason=reason.name,
            retry_ms=settings.drain.retry_ms if stopping else settings.retry_ms,
            resume=reason.resumable and self._progress.hold is not None,
        )

    def close_account(self, disconnect: Disconnect, age_s: float) -> None:
        """Count the one end, and log its one line."""
        reason, figures = disconnect.reason, self._account.figures
        self._service.metrics.disconnected(disconnect, age_s, self._connection.last_state)
        code = disconnect.code_seen or reason.code
        kept = self._parted.done() and self._parted.result()
        log.log(
            reason.level,
            "session %s ended: %s by %s, code %s, %s dialect, after %.1f s, "
            "%d frames in, %d results out%s%s",
            self._progress.session,
            reason.name,
            reason.initiator,
            code,
            self._dialect,
            age_s,
            figures.frames_in,
            figures.results_out,
            ", kept for a resume" if kept else "",
            f": {disconnect.explanation}" if disconnect.explanation else "",
            extra={
                "session": self._progress.session,
                "reason": reason.name,
                "initiator": str(reason.initiator),
                "close_code": code,
                "dialect": str(self._dialect),
                "duration_s": round(age_s, 3),
                "frames_in": figures.frames_in,
                "results_out": figures.results_out,
                "kept": kept,
            },
        )

    async def forget(self, disconnect: Disconnect) -> None:
        """Have the store forget a session that ended for good."""
        if self._progress.hold is not None and not disconnect.reason.kept:
            await self._progress.hold.forget()
