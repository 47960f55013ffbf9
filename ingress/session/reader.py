"""What a client says, one message at a time: checked against what came before, passed on.

Nothing here waits for a model, so the reader always comes back to
``receive()``, the only place where the end of a connection shows. Bad input is
answered with an error; the connection lives, unless the bad messages do not end.

One message a turn of the loop: a burst that waits already is no reason for others to wait. Who
sends more than it may (``ingress.session.allowance``) is read later.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.session.account import Account
from ingress.session.allowance import Allowance
from ingress.session.commands import Commands
from ingress.session.credit import AckAhead
from ingress.session.delivery import Delivery
from ingress.session.mailbox import Mailbox
from ingress.session.outbox import Outbox
from ingress.session.progress import Progress
from ingress.session.watch import Watch
from ingress.settings import SessionLimits
from ingress.wire.heard import heard
from ingress.wire.pictures import Frame
from ingress.wire.replies import Error, ServerPong
from ingress.wire.requests import (
    Ack,
    ChangeMode,
    ClientMessage,
    GetStats,
    Hello,
    Ping,
    Pong,
    SubscribeStats,
    UpdateViz,
)
from ingress.wire.said import size_of
from ingress.wire.words import BadMessage, Dialect

_BAD_MESSAGE_WINDOW_S = 60.0
# What a message counts as: nothing answers the first two, others are asked for the last three.
_WORTH = {Ack: 0.5, Pong: 0.5, GetStats: 10, SubscribeStats: 10, ChangeMode: 10}


class Reader:
    """The messages of one connection."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        limits: SessionLimits,
        allowance: Allowance,
        progress: Progress,
        mailbox: Mailbox,
        delivery: Delivery,
        commands: Commands,
        watch: Watch,
        account: Account,
        outbox: Outbox,
        greet: Callable[[Hello], None],
    ) -> None:
        """``greet`` is called at hello."""
        self._connection = connection
        self._dialect = dialect
        self._limits = limits
        self._allowance = allowance
        self._progress = progress
        self._mailbox = mailbox
        self._delivery = delivery
        self._commands = commands
        self._watch = watch
        self._account = account
        self._outbox = outbox
        self._greet = greet
        self._clock = asyncio.get_running_loop().time
        self._bad_messages: deque[float] = deque(maxlen=limits.max_bad_messages)

    async def run(self) -> None:
        """Read until ``receive`` raises Disconnect."""
        while True:
            await asyncio.sleep(self._allowance.debt_s)
            await self._read_one()

    async def _read_one(self) -> None:
        message = await self._connection.receive()
        self._watch.heard()
        size = size_of(message)
        self._account.received(size, binary=isinstance(message, bytes))
        try:
            said = await heard(
                message, self._dialect, self._limits, plain_seq=self._progress.frame_seq + 1
            )
            if isinstance(message, str):
                self._account.understood(said)
            if isinstance(said, Frame):
                self._on_frame(said)
            else:
                self._on_text(said)
                self._allowance.count(size, worth=_WORTH.get(type(said), 1))
        except BadMessage as error:
            self._allowance.count(size)
            self._on_bad(error)

    def _on_text(self, message: ClientMessage) -> None:
        if isinstance(message, Hello):
            self._on_hello(message)
            return
        if not self._connection.is_greeted:
            raise BadMessage("say hello first", reply_to=message.id)
        match message:
            case Ack():
                self._acknowledge(message.seq)
            case Ping():
                self._outbox.put(ServerPong(reply_to=message.id, t=message.t))
            case Pong():
                self._on_pong(message)
            case ChangeMode() | UpdateViz() | GetStats() | SubscribeStats():
                self._watch.active()
                self._commands.handle(message)
                self._progress.received(message.id)

    def _on_hello(self, hello: Hello) -> None:
        if not self._connection.hello():
            raise BadMessage("hello: was said already", reply_to=hello.id)
        self._greet(hello)

    def _on_pong(self, pong: Pong) -> None:
        rtt_s = self._watch.ponged(pong.t)
        if rtt_s is not None:
            self._account.ponged(rtt_s)

    def _on_frame(self, frame: Frame) -> None:
        newest = self._progress.frame_seq
        if not self._connection.is_greeted:
            raise BadMessage("say hello before the first frame", frame_seq=frame.seq)
        if frame.seq <= newest:
            raise BadMessage(
                f"frame: seq {frame.seq} does not follow {newest}", frame_seq=frame.seq
            )
        self._progress.frame_seq = frame.seq
        self._watch.active()
        self._acknowledge(frame.ack, frame.seq)
        self._arrive(frame)

    def _arrive(self, frame: Frame) -> None:
        limit = self._limits.max_frame_bytes
        if not self._allowance.takes(frame.image):
            self._mailbox.refuse(frame)
            self._allowance.count()
        elif len(frame.image) > limit:
            self._delivery.reject(frame, f"{len(frame.image)} bytes; at most {limit} are taken")
        elif not frame.image:
            self._delivery.reject(frame, "an empty picture; send a JPEG, PNG or WebP")
        else:
            self._mailbox.arrive(frame)

    def _acknowledge(self, seq: int, frame_seq: int | None = None) -> None:
        """Who acknowledges has read the welcome, and so has the newest token."""
        try:
            self._delivery.acknowledge(seq)
        except AckAhead as error:
            raise BadMessage(str(error), frame_seq=frame_seq) from None
        if self._progress.hold is not None:
            self._progress.hold.confirm()

    def _on_bad(self, error: BadMessage) -> None:
        now = self._clock()
        self._account.refused()
        self._progress.received(error.reply_to)
        full = len(self._bad_messages) == self._bad_messages.maxlen
        if full and now - self._bad_messages[0] < _BAD_MESSAGE_WINDOW_S:
            raise Disconnect("policy_violation", "too many bad messages")
        self._bad_messages.append(now)
        self._outbox.put(
            Error(
                reply_to=error.reply_to,
                code=error.code,
                message=str(error),
                frame_seq=error.frame_seq,
                timestamp=error.timestamp,
            )
        )
