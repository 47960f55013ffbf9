"""A client and its session, met over a fake transport: how tests run one and check its end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ingress.disconnects import DISCONNECTS
from ingress.session.life import Session
from ingress.wire.pictures import parse_result
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport, visitor
from tests.ingress.turns import settle
from tests.ingress.world import World

Lines = Callable[[], list[logging.LogRecord]]


HELLO = '{"type":"hello"}'


@asynccontextmanager
async def session(
    world: World, peer: FakeTransport, dialect: Dialect = Dialect.V1
) -> AsyncIterator[Session]:
    """A session that runs, and has ended when the block ends."""
    made = Session(world.service, peer, visitor(dialect))
    running = asyncio.create_task(made.run())
    try:
        await settle()
        yield made
        await asyncio.wait_for(running, 120)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def said(peer: FakeTransport) -> list[dict[str, Any]]:
    return [json.loads(message) for message in peer.sent if isinstance(message, str)]


def types(peer: FakeTransport) -> list[str]:
    return [message["type"] for message in said(peer)]


def check_end(world: World, lines: Lines, reason: str) -> None:
    """One count, one line at the table's level, the balance, and no task left behind."""
    row = DISCONNECTS[reason]
    assert world.count(
        "ws_disconnects_total", reason=reason, initiator=row.initiator
    ) == 1, reason  # fmt: skip
    assert world.total("ws_disconnects_total") == world.total("ws_connections_total") == 1
    assert world.total("ws_connections_now") == 0
    assert [record.levelno for record in lines()] == [row.level]
    assert reason in lines()[0].getMessage()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Returning:
    """A v1 client that remembers what a resume needs."""

    def __init__(self) -> None:
        self.peer = FakeTransport()
        self.welcome: dict[str, Any] = {}
        self.last_control = self.last_seq = 0

    def hello(self, peer: FakeTransport) -> None:
        self.peer = peer
        resume = {
            "session": self.welcome.get("session"), "token": self.welcome.get("resume_token"),
            "last_seq": self.last_seq, "last_control": self.last_control,
        }  # fmt: skip
        message = {"type": "hello", **({"resume": resume} if self.welcome else {})}
        peer.come(json.dumps(message))

    async def heard(self) -> list[Any]:
        """Everything that came on this connection: JSON, and results."""
        await settle(100)
        heard: list[Any] = []
        for message in self.peer.sent:
            if isinstance(message, bytes):
                result = parse_result(message)
                self.last_seq = result.seq
                heard.append(result)
                continue
            said = json.loads(message)
            heard.append(said)
            self.last_control = said.get("control_seq", self.last_control)
            if said["type"] == "welcome":
                self.welcome = said
        return heard
