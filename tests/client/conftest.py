"""The fake server, and returns that are not waited for, as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.client.fake_server import FakeServer, fake_server


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as fake:
        yield fake


@pytest.fixture
def quick_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other fast."""
    monkeypatch.setattr("client.reconnect._FIRST_CAP_S", 0.001)
    monkeypatch.setattr("client.reconnect._LAST_CAP_S", 0.01)
    monkeypatch.setattr("client.reconnect._OVERLOADED_FLOOR_S", 0.001)
