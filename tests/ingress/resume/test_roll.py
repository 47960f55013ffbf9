"""The sessions of a replica: renewed while they are here, ended where they were taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from ingress.disconnects import Disconnect
from ingress.resume.hold import Hold
from ingress.resume.parked import Parked, Renewal, SessionSettings, StoreLost
from ingress.resume.roll import Roll
from ingress.settings import Resume
from models.view import View
from tests.ingress.fakes import FakeStore
from tests.ingress.turns import settle


class Attendant:
    """A session as the roll sees it, and what was asked of it."""

    def __init__(self, store: FakeStore, name: str, *, held: bool = True) -> None:
        self.id = name
        self.buffer_bytes = 100
        self.kept = True
        self.ends: list[str] = []
        settings = SessionSettings("person", View())
        self.hold = Hold.fresh(store, name, f"token of {name}", None, settings) if held else None
        self.writing = asyncio.create_task(self.hold.run()) if self.hold else None

    def end(self, disconnect: Disconnect) -> None:
        self.ends.append(disconnect.reason.name)

    def announce(self) -> None:
        self.ends.append("announced")

    async def let_go(self) -> bool:
        self.ends.append("let go")
        return self.kept

    def describe(self) -> Mapping[str, Any]:
        return {"session": self.id}


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(Resume(ttl_s=60))


@pytest.fixture
def roll(store: FakeStore) -> Roll:
    return Roll(store, 20)


async def test_many_are_renewed_some_at_a_time(roll: Roll, store: FakeStore) -> None:
    asked: list[int] = []

    async def renew(held: Mapping[bytes, str]) -> Renewal:
        asked.append(len(held))
        return Renewal(unknown=frozenset(held))

    store.renew = renew  # type: ignore[method-assign]
    await roll.renew()
    crowd = [Attendant(store, str(n)) for n in range(2100)]
    for one in crowd:
        roll.add(one)
    await settle(5)
    await roll.renew()
    await settle(5)
    assert asked == [0, 1024, 1024, 52]
    assert all(one.hold and store.memory._held[one.id].title.serial == 3 for one in crowd)
    for one in crowd:
        assert one.writing
        one.writing.cancel()


async def test_it_knows_who_is_here_and_when_nobody_is(roll: Roll, store: FakeStore) -> None:
    await asyncio.wait_for(roll.emptied(), 1)
    one, two = Attendant(store, "one"), Attendant(store, "two")
    roll.add(one)
    roll.add(two)
    assert (len(roll), list(roll), roll.buffer_bytes) == (2, [one, two], 200)
    assert roll.describe() == [{"session": "one"}, {"session": "two"}]
    emptied = asyncio.create_task(roll.emptied())
    roll.discard(one)
    await settle()
    assert not emptied.done()
    roll.discard(two)
    roll.discard(two)
    await asyncio.wait_for(emptied, 1)


async def test_a_session_may_leave_while_the_others_are_counted(
    roll: Roll, store: FakeStore
) -> None:
    for name in "abc":
        roll.add(Attendant(store, name))
    for session in roll:
        roll.discard(session)
    assert len(roll) == 0


async def test_held_sessions_outlive_the_ttl_by_renewal(roll: Roll, store: FakeStore) -> None:
    roll.add(Attendant(store, "s"))
    renewing = asyncio.create_task(roll.run())
    await asyncio.sleep(300)
    store.memory.expire(asyncio.get_running_loop().time())
    assert store.memory.knows("s")
    renewing.cancel()


async def test_what_the_store_lost_is_written_again(roll: Roll, store: FakeStore) -> None:
    roll.add(Attendant(store, "s"))
    await settle()
    store.memory._held.clear()
    await roll.renew()
    await settle()
    assert store.memory.knows("s")


async def test_a_write_that_the_store_missed_is_made_up_for(roll: Roll, store: FakeStore) -> None:
    session = Attendant(store, "s")
    roll.add(session)
    await settle()
    store.lost = True
    assert session.hold is not None
    session.hold.change(SessionSettings("parts", View()))
    await settle()
    store.lost = False
    await roll.renew()
    await settle()
    assert store.memory._held["s"].title.settings.mode == "parts"
    serial = store.memory._held["s"].title.serial
    await roll.renew()
    await settle()
    assert store.memory._held["s"].title.serial == serial, "once"


async def test_a_session_that_was_taken_over_ends_as_replaced(roll: Roll, store: FakeStore) -> None:
    session, other = Attendant(store, "s"), Attendant(store, "other")
    for one in (session, other):
        roll.add(one)
    await settle()
    assert session.hold is not None
    store.memory.claim("s", session.hold.newest_token, None, b"new", 1000, orphaned=True)
    await roll.renew()
    assert (session.ends, other.ends) == (["replaced"], [])


async def test_a_session_without_a_hold_is_not_renewed(roll: Roll, store: FakeStore) -> None:
    roll.add(Attendant(store, "plain", held=False))
    await roll.renew()
    assert not store.memory.knows("plain")


async def test_a_store_that_is_away_is_told_of_once_and_renewal_goes_on(
    roll: Roll, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    roll.add(Attendant(store, "s"))
    renewing = asyncio.create_task(roll.run())
    for lost in (True, False, True):
        store.lost = lost
        await asyncio.sleep(100)
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2
    store.lost = False
    await asyncio.sleep(21)
    assert store.memory.knows("s")
    renewing.cancel()
    store.lost = True
    with pytest.raises(StoreLost):
        await roll.renew()


async def test_the_session_that_is_asked_for_lets_go(roll: Roll, store: FakeStore) -> None:
    session, other = Attendant(store, "s"), Attendant(store, "other")
    for one in (session, other):
        roll.add(one)
    assert await roll.release("s")
    assert (session.ends, other.ends) == (["let go"], [])
    session.kept = False
    assert not await roll.release("s")
    assert not await roll.release("unknown")


async def test_a_connection_that_still_closes_does_not_speak_for_the_one_after_it(
    roll: Roll, store: FakeStore
) -> None:
    older, newer = Attendant(store, "s"), Attendant(store, "s")
    for one in (older, newer):
        roll.add(one)
    newer.kept = False  # the store did not answer
    assert not await roll.release("s")


async def test_a_session_that_is_not_greeted_yet_is_nobodys(roll: Roll, store: FakeStore) -> None:
    newcomer = Attendant(store, "s", held=False)
    roll.add(newcomer)
    assert not await roll.release("s")
    assert newcomer.ends == []


async def test_a_renewal_that_is_late_ends_nothing_that_was_parked(
    roll: Roll, store: FakeStore
) -> None:
    session = Attendant(store, "s")
    roll.add(session)
    await settle()
    assert session.hold is not None
    await session.hold.park(Parked())
    await roll.renew()
    await settle()
    assert (session.ends, store.memory.parked) == ([], 1)
