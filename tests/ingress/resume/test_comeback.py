"""What a client that comes back gets: the session, its settings, or a new one and the reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ingress.resume.comeback import Afresh, Resumed, come_back
from ingress.resume.parked import (
    NewestResult,
    Numbered,
    Parked,
    SessionSettings,
    StoreLost,
    Title,
    hash_token,
)
from ingress.settings import Resume
from ingress.wire.requests import ResumeRequest
from models.view import View
from tests.ingress.fakes import FakeStore

PARTS = SessionSettings("parts", View(quality=50))
TITLE = Title((hash_token("old"),), None, PARTS)
PARKED = Parked(
    control=tuple(Numbered(seq, "stats", f"m{seq}") for seq in (3, 4, 5)),
    control_seq=5,
    result_seq=7,
    newest=NewestResult(7, 70, b"r", 0.5),
)


class Rolls(FakeStore):
    """A store that keeps count of those who were asked to let go, and what they answer."""

    def __init__(self) -> None:
        super().__init__(Resume())
        self.releases = 0
        self.answer = False

    async def release(self, session: str) -> bool:
        self.releases += 1
        return self.answer


@pytest.fixture
def store() -> Rolls:
    return Rolls()


def now() -> float:
    return asyncio.get_running_loop().time()


async def back(store: FakeStore, token: str = "old", **numbers: Any) -> Resumed | Afresh:
    request = ResumeRequest(
        session="s", token=token, **{"last_seq": 6, "last_control": 3, **numbers}
    )
    return await come_back(store, request, None, "new", result_age_s=2.0, timeout_s=2.0)


async def test_a_parked_session_goes_on_with_what_its_client_lacks(store: Rolls) -> None:
    store.memory.park("s", TITLE, PARKED, now())
    got = await back(store)
    assert isinstance(got, Resumed)
    assert [message.seq for message in got.control] == [4, 5]
    assert got.replayed is not None
    assert (got.replayed.seq, got.title.tokens) == (7, (hash_token("new"), hash_token("old")))
    assert store.releases == 0


async def test_an_old_result_is_not_sent_again_the_way_of_the_claim_counted(store: Rolls) -> None:
    store.memory.park("s", TITLE, PARKED, now())
    store.delay_s = 1.6
    got = await back(store)
    assert isinstance(got, Resumed)
    assert got.replayed is None


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"last_control": 1}, "last_control: 5 control messages were sent and 3 are kept, so 1"),
        ({"last_control": 6}, "last_control"),
        ({"last_seq": 8}, "last_seq: 8 is ahead of the newest result, 7"),
    ],
)
async def test_what_cannot_be_followed_keeps_its_settings_even_if_the_welcome_is_lost(
    store: Rolls, numbers: dict[str, Any], words: str
) -> None:
    store.memory.park("s", TITLE, PARKED, now())
    for _ in range(2):
        got = await back(store, **numbers)
        assert isinstance(got, Afresh)
        assert (got.outcome, got.settings) == ("settings_only", PARTS)
        assert words in got.why or "meanwhile" in got.why
    assert (store.memory.held, store.memory.parked) == (0, 1)
    assert store.memory._parked["s"].parked == Parked(settings_only=True), "nothing but that"


async def test_a_store_that_is_lost_after_the_claim_costs_no_settings(store: Rolls) -> None:
    store.memory.hold("s", TITLE, now())

    async def park(session: str, title: Title, parked: Parked) -> bool:
        raise StoreLost

    store.park = park  # type: ignore[method-assign]
    got = await back(store)
    assert isinstance(got, Afresh)
    assert (got.outcome, got.settings) == ("settings_only", PARTS)


async def test_a_session_whose_replica_died_keeps_its_settings(store: Rolls) -> None:
    store.memory.hold("s", TITLE, now())
    got = await back(store)
    assert isinstance(got, Afresh)
    assert (got.outcome, got.settings, store.releases) == ("settings_only", PARTS, 1)


async def test_a_connection_that_holds_the_session_lets_go_first(store: Rolls) -> None:
    store.memory.hold("s", TITLE, now())

    async def let_go(session: str) -> bool:
        store.memory.park("s", Title(TITLE.tokens, None, PARTS, serial=2), PARKED, now())
        return True

    store.release = let_go  # type: ignore[method-assign]
    assert isinstance(await back(store), Resumed)


async def test_one_that_never_lets_go_is_not_asked_for_ever(store: Rolls) -> None:
    store.memory.hold("s", TITLE, now())
    store.answer = True
    got = await back(store)
    assert isinstance(got, Afresh)
    assert (got.outcome, got.settings, store.releases) == ("refused", None, 3)


async def test_a_stranger_learns_nothing(store: Rolls) -> None:
    unknown = await back(store)
    store.memory.park("s", TITLE, PARKED, now())
    assert await back(store, token="wrong") == unknown
    assert isinstance(unknown, Afresh)
    assert (unknown.outcome, unknown.settings) == ("refused", None)


@pytest.mark.parametrize(("lost", "delay_s"), [(True, 0.0), (False, 100.0)])
async def test_a_store_that_does_not_answer_is_not_waited_for(
    store: Rolls, lost: bool, delay_s: float
) -> None:
    store.memory.park("s", TITLE, PARKED, now())
    store.lost, store.delay_s = lost, delay_s
    began = now()
    got = await back(store)
    assert now() - began <= 2.0
    assert isinstance(got, Afresh)
    assert got.outcome == "store_lost"
    store.lost, store.delay_s = False, 0.0
    assert isinstance(await back(store), Resumed), "it is still there"
