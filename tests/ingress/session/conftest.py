"""What the tests of a session share."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.ingress.session.meeting import Lines
from tests.ingress.world import MakeWorld, World


@pytest.fixture
def busy(make_world: MakeWorld) -> World:
    """One call at a time, held until the gate opens."""
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    return world


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The records of sessions that ended."""
    caplog.set_level(logging.DEBUG)

    def ended() -> list[logging.LogRecord]:
        return [record for record in caplog.records if " ended: " in record.getMessage()]

    return ended
