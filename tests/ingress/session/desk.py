"""A session's frames without a connection: mailbox, credit, delivery, outbox."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ingress.resume.parked import Parked
from ingress.session.account import Account
from ingress.session.credit import Credit
from ingress.session.delivery import Delivery
from ingress.session.dialects import VOICES
from ingress.session.mailbox import Mailbox
from ingress.session.outbox import Outbox
from ingress.session.scene import Scene
from ingress.session.watch import Watch
from ingress.wire.pictures import Frame, parse_result
from ingress.wire.said import encoded
from ingress.wire.words import Dialect
from tests.ingress.world import World


class Desk:
    """A session's frames, from mailbox to outbox; the test empties the outbox."""

    def __init__(self, world: World, dialect: Dialect = Dialect.V1) -> None:
        self.full = 0
        self.outbox = Outbox(256, 256 * 1024, self._ring)
        service, limits, voice = world.service, world.service.settings.limits, VOICES[dialect]
        self.watch = Watch(service.settings, dialect)
        self.account = Account(service.metrics)
        self.scene = Scene(service.settings, service.modes)
        in_flight = limits.max_in_flight if voice.acknowledged else limits.plain_in_flight
        self.credit = Credit(in_flight, lambda: self.mailbox.offer())
        self.delivery = Delivery(
            service, voice, self.scene, self.credit, self.outbox, self.watch, self.account
        )
        self.mailbox = Mailbox(service, voice, self.scene, self.credit, self.delivery, self.account)
        self.seq = 0

    def _ring(self) -> None:
        self.full += 1

    def arrive(self, count: int = 1) -> None:
        for _ in range(count):
            self.seq += 1
            image = str(self.seq).encode()
            self.mailbox.arrive(Frame(self.seq, 0, 0, image, timestamp=self.seq))

    async def said(self) -> list[Any]:
        """Everything in the outbox: results as frame seqs or JSON, control as JSON."""
        out: list[Any] = []
        while True:
            try:
                outgoing = await asyncio.wait_for(self.outbox.take(), 0.001)
            except TimeoutError:
                return out
            if outgoing.is_result:
                self.delivery.sent_one()
            data = await encoded(outgoing.said)
            out.append(json.loads(data) if isinstance(data, str) else parse_result(data))

    def end(self) -> Parked:
        """The connection has ended."""
        parked = self.delivery.end()
        self.mailbox.end()
        self.outbox.tell_drops()
        return parked

    @property
    def size_bytes(self) -> int:
        return self.mailbox.size_bytes + self.delivery.size_bytes
