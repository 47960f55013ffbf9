"""What goes to the client: the one task of a session that sends.

A send that cannot be is no end: it waits for the reader to say why the connection is lost
(``ingress.door.connection``, rule 2). A send that passed its deadline is one.

What has piled up is no reason for others to wait: after ``TURN_S`` comes a turn of the loop.
"""

from __future__ import annotations

import asyncio
import time

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.session.account import Account
from ingress.session.delivery import Delivery
from ingress.session.outbox import Outbox, Outgoing
from ingress.wire.said import encoded, size_of

TURN_S = 0.005


class Writer:
    """The way out of one session."""

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        delivery: Delivery,
        account: Account,
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._delivery = delivery
        self._account = account

    async def run(self) -> None:
        """Send what the outbox holds; raises Disconnect where a message was not taken in time."""
        turn_began = time.monotonic()
        while True:
            if time.monotonic() - turn_began > TURN_S:
                await asyncio.sleep(0)
                turn_began = time.monotonic()
            outgoing = await self._outbox.take()
            if not await self._send(outgoing):
                if self._connection.stalled:
                    raise Disconnect("slow_consumer", "a message was not taken in time")
                await asyncio.get_running_loop().create_future()
            if outgoing.is_result:
                self._delivery.sent_one()

    async def _send(self, outgoing: Outgoing) -> bool:
        """Send one message and account for it; whether it left."""
        message = await encoded(outgoing.said)
        size = size_of(message)
        sent = await self._connection.send(message)
        if sent:
            self._account.sent(outgoing.kind, size)
        return sent
