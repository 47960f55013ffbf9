"""A store that is full takes from who keeps the most: attacked in numbers, by one and by many."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import count
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.admission.gate import Visitor
from ingress.resume.memory_store import Bound, MemoryStore
from ingress.resume.parked import ClaimRefused, NewestResult, Parked, Title, hash_token
from ingress.resume.record import Record
from ingress.resume.shares import _OWNER_BYTES
from ingress.session.life import Session
from ingress.settings import IngressSettings
from ingress.wire.pictures import Frame, encode_frame
from ingress.wire.words import SUBPROTOCOL
from tests.ingress.fakes import FakeTransport, lost
from tests.ingress.resume.test_memory_store import heir
from tests.ingress.session.meeting import HELLO, Returning
from tests.ingress.titles import ORIGIN, parked, title
from tests.ingress.turns import settle
from tests.ingress.world import World

NUMBERS = count()
ATTACKER = "192.0.2.66"
LIMITS = IngressSettings().limits
LEAST = LIMITS.result_message_bytes + IngressSettings().resume.ring_bytes  # that settings allow
GIANT = Parked(newest=NewestResult(1, 1, bytes(LIMITS.max_result_bytes), 0.0), result_seq=1)


def honest(n: int) -> Title:
    return title(hash_token(f"honest {n}"), address=f"10.0.0.{n}")


def park_honest(store: MemoryStore, count: int = 20) -> None:
    for n in range(count):
        assert store.park(f"honest {n}", honest(n), parked(), 0)


def lost_by_honest(store: MemoryStore, count: int = 20) -> list[int]:
    """Those who do not get their session back."""
    gone = []
    for n in range(count):
        try:
            token = hash_token(f"honest {n}")
            claim = store.claim(f"honest {n}", token, ORIGIN, b"new", 1, orphaned=False)
            assert claim.parked == parked().aged(1)
        except ClaimRefused:
            gone.append(n)
    return gone


def flood(
    store: MemoryStore, number: int, left: Parked, *, address: str | None = ATTACKER,
    principal: str | None = None,
) -> None:  # fmt: skip
    """So many sessions more."""
    for n in (next(NUMBERS) for _ in range(number)):
        whose = title(hash_token(f"flood {n}"), address=address, principal=principal)
        store.park(f"flood {n}", whose, left, 0.5)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(ttl_s=60, max_parked=1024, max_parked_bytes=LEAST)


# ------------------------------------------------------------------ one attacker


class Caller(FakeTransport):
    """One connection from an address."""

    def __init__(self, world: World, address: str | None) -> None:
        super().__init__()
        visitor = Visitor(SUBPROTOCOL, None, address)
        self.task = asyncio.create_task(Session(world.service, self, visitor).run())

    async def lose(self) -> None:
        self.come(lost())
        await asyncio.wait_for(self.task, 60)


async def test_a_thousand_resets_from_one_address_cost_nobody_else_his_session(
    world: World,
) -> None:
    clients = [Returning() for _ in range(20)]
    for n, client in enumerate(clients):
        caller = Caller(world, f"10.0.0.{n}")
        client.hello(caller)
        await client.heard()
        if n % 2:  # the others only look on
            caller.come(encode_frame(Frame(1, 0, 0, b"x")))
            await client.heard()
        await caller.lose()
    for _ in range(1024):
        caller = Caller(world, ATTACKER)
        caller.come(HELLO)
        await settle(5)
        await caller.lose()
    assert world.store.memory.parked == 1024
    for n, client in enumerate(clients):
        caller = Caller(world, f"10.0.1.{n}")  # another address than before
        client.hello(caller)
        assert (await client.heard())[0]["resumed"] is True
        assert world.store.memory._held[client.welcome["session"]].title.address == f"10.0.0.{n}"
        caller.come('{"type":"ack","seq":0}')
        await settle()
        assert world.store.memory._held[client.welcome["session"]].title.address == f"10.0.1.{n}"
        await caller.lose()


@pytest.mark.parametrize("left", [Parked(unused=True), parked()])
@pytest.mark.parametrize(
    "whose", [{"address": ATTACKER}, {"address": None}, {"address": ATTACKER, "principal": "eve"}]
)
def test_a_flood_from_one_owner_evicts_itself(
    store: MemoryStore, left: Parked, whose: dict[str, str | None]
) -> None:
    park_honest(store)
    flood(store, 5000, left, **whose)
    assert store.parked == 1024
    assert lost_by_honest(store) == []


def test_giants_cost_nobody_else_his_session_however_often_they_come(store: MemoryStore) -> None:
    park_honest(store)
    for turn in range(30):
        for n in range(3):
            name, token = f"giant {n}", hash_token(f"giant {n} {turn}")
            giant = title(token, address=ATTACKER, serial=turn + 1, claims=turn)
            store.forget(name, replace(giant, claims=turn - 1), 0)
            store.park(name, giant, GIANT, 0)
            assert store.kept_bytes <= LEAST
    assert lost_by_honest(store) == []


def test_giants_that_are_claimed_and_never_confirmed_are_counted(store: MemoryStore) -> None:
    park_honest(store)
    for n in range(3):
        name, token = f"giant {n}", hash_token(f"giant {n}")
        assert store.park(name, title(token, address=ATTACKER), GIANT, 0)
        claim = store.claim(name, token, ORIGIN, b"next", 0, orphaned=False)
        assert claim.parked == GIANT
        store.hold(name, replace(claim.title, serial=99), 0)  # its client acknowledges nothing
        assert store.kept_bytes <= LEAST
    assert store.held == 3, "they lose what was parked, not their place"
    assert [record.parked is not None for record in store._held.values()] == [False, False, True]
    assert lost_by_honest(store) == []


def test_held_sessions_are_bounded_by_bytes_too() -> None:
    store = MemoryStore(ttl_s=60, max_parked=10, max_parked_bytes=100_000)
    store.hold("honest", honest(1), 0)
    for n in range(500):
        store.hold(f"held {n}", title(hash_token(str(n)), address=ATTACKER), 0)
        assert store.kept_bytes <= 100_000
    assert store.knows("honest")
    assert store.knows("held 499")
    assert not store.knows("held 0")


def test_a_successor_knows_whose_the_sessions_are(store: MemoryStore) -> None:
    for n in range(2):
        store.park(f"honest {n}", honest(n), parked(), 0)
    store.park("first", title(hash_token("f"), address=ATTACKER), parked(), 0)
    successor = heir(store, 0.5)  # which has room for three
    flood(successor, 9, parked())
    assert not successor.knows("first")
    assert all(successor.knows(f"honest {n}") for n in range(2))


# ------------------------------------------------------------------ neighbours


def test_neighbours_of_an_attacker_lose_and_nobody_else(store: MemoryStore) -> None:
    park_honest(store)
    for n in range(60):
        store.park(f"neighbour {n}", title(hash_token(f"n{n}"), address=ATTACKER), parked(), 0.1)
    flood(store, 3000, Parked(unused=True))
    left = sum(store.knows(f"neighbour {n}") for n in range(60))
    assert left == 60, "what was never used leaves before them"
    flood(store, 1024 - 20 - 60 + 30, parked())  # these look like theirs
    left = sum(store.knows(f"neighbour {n}") for n in range(60))
    assert left == 30, "the oldest, one for each that is too many"
    assert lost_by_honest(store) == []


def test_principals_behind_one_address_have_a_share_each(store: MemoryStore) -> None:
    for n in range(20):
        mine = title(hash_token(f"honest {n}"), address=ATTACKER, principal=f"user {n}")
        store.park(f"honest {n}", mine, parked(), 0)
    flood(store, 3000, parked(), principal="eve")
    assert all(store.knows(f"honest {n}") for n in range(20))
    assert title(principal=ATTACKER).owner != title(address=ATTACKER).owner


def test_where_all_have_one_who_used_his_stays() -> None:
    store = MemoryStore(ttl_s=60, max_parked=20, max_parked_bytes=LEAST)
    park_honest(store)
    for n in range(500):  # one each from many addresses
        empty = title(hash_token(f"e{n}"), address=f"198.51.{n // 250}.{n % 250}")
        assert not store.park(f"empty {n}", empty, Parked(unused=True), 0)
    assert all(store.knows(f"honest {n}") for n in range(20))


PARKS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 9_000)))
MOST, MOST_BYTES = 6, 40_000


@given(parks=PARKS)
def test_who_keeps_no_more_than_his_share_loses_nothing(parks: list[tuple[int, int, int]]) -> None:
    store = MemoryStore(ttl_s=60, max_parked=MOST, max_parked_bytes=MOST_BYTES)
    for step, (owner, name, size) in enumerate(parks, 1):
        session = f"{owner} {name}"
        whose = title(hash_token(session), serial=step, address=str(owner))
        left = Parked(newest=NewestResult(1, 1, bytes(size), 0.0), unused=size > 8000)
        before = dict(store._parked)
        store.park(session, whose, left, 0)
        shares = {**before, session: Record(whose, 0, left)}  # had all had room
        owners = {record.title.owner for record in shares.values()}
        for loser in {shares[gone].title.owner for gone in shares.keys() - store._parked.keys()}:
            kept = [record for record in shares.values() if record.title.owner == loser]
            size = sum(record.size_bytes for record in kept) + _OWNER_BYTES
            assert len(kept) > MOST / len(owners) or size > MOST_BYTES / len(owners)


# ------------------------------------------------------------------ what it costs


def test_a_write_takes_no_longer_with_many_owners() -> None:
    def write_s(owners: int) -> float:
        store = MemoryStore(ttl_s=60, max_parked=owners, max_parked_bytes=10**12)
        took = []
        for n in range(owners + 1000):
            whose = title(hash_token(str(n)), address=str(n % owners))
            began = time.perf_counter()
            store.park(str(n), whose, Parked(), 0)
            took.append(time.perf_counter() - began)
        return median(took[-1000:])  # each of which evicts one

    few = write_s(100)
    assert write_s(16_000) < 10 * few


def test_one_call_lets_go_so_many_and_no_more() -> None:
    small = [title(hash_token(str(n)), address="a") for n in range(5000)]
    each = Record(small[0], 0, Parked(unused=True)).size_bytes
    store = MemoryStore(ttl_s=60, max_parked=5000, max_parked_bytes=5001 * each)
    for n, whose in enumerate(small):
        store.park(str(n), whose, Parked(unused=True), 0)
    giant = Parked(newest=NewestResult(1, 1, bytes(1200 * each), 0.0))
    assert not store.park("giant", title(address="b"), giant, 1), "rather than 1,200 others"
    assert store.parked == 5000 - 1024
    store.expire(60)
    assert store.parked == 5000 - 2 * 1024
    last = next(reversed(store._parked))
    with pytest.raises(ClaimRefused):
        store.claim(last, hash_token(last), ORIGIN, b"new", 60, orphaned=False)
    assert store.parked == 5000 - 3 * 1024


@pytest.mark.parametrize("bound", ["number", "bytes"])
def test_evictions_are_told_by_their_bound(bound: Bound) -> None:
    told: list[Bound] = []
    most = (3, 10**9) if bound == "number" else (99, 20_000)
    store = MemoryStore(
        ttl_s=60, max_parked=most[0], max_parked_bytes=most[1], on_evicted=told.append
    )
    flood(store, 20, parked())
    assert told == [bound] * (20 - store.parked)
    assert told
