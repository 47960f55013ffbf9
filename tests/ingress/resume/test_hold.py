"""A session's place in the store: settings are written through, and nothing waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingress.resume.hold import Hold
from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import Parked, SessionSettings, hash_token
from ingress.settings import Resume
from models.view import View
from tests.ingress.fakes import FakeStore
from tests.ingress.turns import settle

PERSON, PARTS = SessionSettings("person", View()), SessionSettings("parts", View())


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(Resume())


@pytest.fixture
async def hold(store: FakeStore) -> AsyncIterator[Hold]:
    made = Hold.fresh(store, "s", "token", None, PERSON)
    running = asyncio.create_task(made.run())
    await settle()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def mode(memory: MemoryStore) -> str:
    return memory._held["s"].title.settings.mode


async def test_a_new_session_is_written_under_its_token_alone(hold: Hold, store: FakeStore) -> None:
    title = store.memory._held["s"].title
    assert (title.tokens, title.settings) == ((hash_token("token"),), PERSON)
    assert hold.newest_token == hash_token("token")


async def test_a_change_is_written_through_and_waits_for_nothing(
    hold: Hold, store: FakeStore
) -> None:
    store.delay_s = 5
    hold.change(PARTS)
    await settle()
    assert mode(store.memory) == "person"
    await asyncio.sleep(5.1)
    assert mode(store.memory) == "parts"


async def test_changes_during_a_write_leave_together_and_the_last_wins(
    hold: Hold, store: FakeStore
) -> None:
    store.delay_s = 1
    for settings in (PARTS, PERSON, PARTS, SessionSettings("salient", View())):
        hold.change(settings)
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.1)
    assert mode(store.memory) == "salient"


async def test_no_change_is_no_write(hold: Hold, store: FakeStore) -> None:
    before = store.memory._held["s"].title.serial
    hold.change(PERSON)
    hold.confirm()
    await settle()
    assert store.memory._held["s"].title.serial == before


async def test_a_confirmed_token_is_the_only_one(store: FakeStore) -> None:
    store.memory.park("s", Hold.fresh(store, "s", "old", None, PERSON)._title, Parked(), 0)
    old, new = hash_token("old"), hash_token("new")
    claim = store.memory.claim("s", old, None, new, 0, orphaned=False)
    hold = Hold(store, "s", "new", claim.title)
    running = asyncio.create_task(hold.run())
    hold.confirm()
    await settle()
    assert store.memory._held["s"].title.tokens == (new,)
    running.cancel()


async def test_a_lost_write_leaves_the_hold_behind_until_one_arrives(
    hold: Hold, store: FakeStore
) -> None:
    store.lost = True
    hold.change(PARTS)
    await settle()
    assert hold.behind
    store.lost = False
    hold.write()
    await settle()
    assert (hold.behind, mode(store.memory)) == (False, "parts")


async def test_parking_says_whether_the_store_took_it(hold: Hold, store: FakeStore) -> None:
    store.lost = True
    assert not await hold.park(Parked())
    store.lost = False
    assert await hold.park(Parked())
    assert (store.memory.held, store.memory.parked) == (0, 1)


async def test_a_write_that_is_overtaken_by_the_parking_changes_nothing(
    hold: Hold, store: FakeStore
) -> None:
    late = hold._title
    await hold.park(Parked())
    await store.hold("s", late)
    assert (store.memory.held, store.memory.parked) == (0, 1)


@pytest.mark.parametrize(("lost", "delay_s"), [(True, 0.0), (False, 3.0)])
async def test_forgetting_does_not_wait_for_a_store_that_is_away(
    hold: Hold, store: FakeStore, lost: bool, delay_s: float
) -> None:
    store.lost, store.delay_s = lost, delay_s
    began = asyncio.get_running_loop().time()
    await hold.forget()
    assert asyncio.get_running_loop().time() - began <= 0.5
    assert store.memory.knows("s")
    store.lost, store.delay_s = False, 0.0
    await hold.forget()
    assert not store.memory.knows("s")
