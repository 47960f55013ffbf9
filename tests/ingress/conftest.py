"""What the tests of the connection layer are given: a world each, and a peer to meet it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.ingress.fakes import FakeStore, FakeTransport
from tests.ingress.turns import end_calls
from tests.ingress.world import MakeWorld, World, new_world

# Their checks are asserts, as a test's are.
pytest.register_assert_rewrite("tests.ingress.life", "tests.ingress.session.meeting")


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    """``new_world``; what a test leaves in flight is ended with it."""
    made: list[World] = []

    def make(store: FakeStore | None = None, **groups: Mapping[str, Any]) -> World:
        made.append(new_world(store, **groups))
        return made[-1]

    yield make
    for world in made:
        await end_calls(world.service)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


@pytest.fixture
def peer() -> FakeTransport:
    return FakeTransport()
