"""The store behind its handle: what fails is a lost store, and one hands over to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray import serve
from ray.exceptions import RayActorError

from deployments import session_store
from deployments.session_store import SessionKeeper, StoreHandle
from ingress.admission.principals import Principal
from ingress.admission.refusal import Refused
from ingress.policy import Admission
from ingress.resume.parked import (
    Claim,
    ClaimRefused,
    Parked,
    SessionSettings,
    StoreLost,
    Title,
    hash_token,
)
from ingress.settings import Resume
from models.view import View

TOKEN, NEW = hash_token("token"), hash_token("new")
TITLE = Title((TOKEN,), None, SessionSettings("parts", View()))


class Remote:
    """The handle of whichever keeper serves now."""

    def __init__(self) -> None:
        self.keeper: SessionKeeper | None = None
        self.failure: Exception | None = None

    def options(self, **_: Any) -> Remote:
        return self

    def __getattr__(self, method: str) -> Any:
        async def call(*details: Any, **options: Any) -> Any:
            if self.failure:
                raise self.failure
            return await getattr(self.keeper, method)(*details, **options)

        return SimpleNamespace(remote=call)


class Cluster:
    """One deployment, whose replicas are made, and told to stop, by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.remote = Remote()
        self.told = [asyncio.Event()]
        self._keepers: list[SessionKeeper] = []
        monkeypatch.setattr(serve, "get_deployment_handle", lambda *_: self.remote)
        monkeypatch.setattr(serve, "get_replica_context", self._context)
        monkeypatch.setattr(session_store, "told_to_stop", self._told)
        monkeypatch.setattr(session_store, "adopt_serve_logging", lambda: None)

    def _context(self) -> Any:
        name = f"replica-{len(self._keepers)}"
        tag = SimpleNamespace(unique_id=name)
        return SimpleNamespace(app_name="app", deployment="session-store", replica_id=tag,
                               replica_tag=name)  # fmt: skip

    def _told(self) -> Awaitable[Any]:
        return self.told[-1].wait()

    def start(self) -> SessionKeeper:
        """A new replica, which the handle reaches from now on."""
        self.told.append(asyncio.Event())
        self.remote.keeper = keeper = SessionKeeper(Resume(store_timeout_s=1), Admission())
        self._keepers.append(keeper)
        return keeper

    def stop(self) -> None:
        for keeper in self._keepers:
            keeper._leaving.cancel()


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    made = Cluster(monkeypatch)
    yield made
    made.stop()


@pytest.fixture
def handle(cluster: Cluster) -> StoreHandle:
    remote = cast(Any, cluster.remote)
    return StoreHandle(remote, remote, timeout_s=1)


async def claim(handle: StoreHandle, *, orphaned: bool = False) -> Claim:
    return await handle.claim("s", TOKEN, None, NEW, orphaned=orphaned)


async def test_a_session_is_held_parked_and_claimed(cluster: Cluster, handle: StoreHandle) -> None:
    cluster.start()._heir.set()
    await handle.hold("s", TITLE)
    assert (await claim(handle)).held
    title = Title(TITLE.tokens, None, TITLE.settings, serial=2)
    await handle.park("s", title, Parked(control_seq=7))
    back = await claim(handle)
    assert back.parked is not None
    assert (back.parked.control_seq, back.title.settings.mode) == (7, "parts")
    await handle.forget("s", back.title)
    with pytest.raises(ClaimRefused, match="not there any more"):
        await claim(handle)


async def test_sessions_that_have_to_leave_are_counted(
    cluster: Cluster, handle: StoreHandle
) -> None:
    keeper = cluster.start()
    for n in range(1025):
        title = Title((hash_token(str(n)),), None, SessionSettings("parts", View()))
        await keeper.ask("park", str(n), title, Parked())
    evictions = ("segstream_store_evictions_total", {"bound": "number"})
    assert keeper._metrics.registry.get_sample_value(*evictions) == 1


async def test_a_ticket_is_redeemed_once_and_survives_a_redeploy(
    cluster: Cluster, handle: StoreHandle
) -> None:
    old = cluster.start()
    told = cluster.told[-1]
    old._heir.set()
    await asyncio.sleep(0)  # it waits to be told
    for name in (b"a", b"b"):
        await handle.issue(name, Principal("ada"), "https://page")
    assert await handle.redeem(b"a", "https://page") == Principal("ada")
    new = cluster.start()
    told.set()
    await asyncio.wait_for(old._leaving, 5)
    assert old._successor is not None
    assert new._tickets.knows(b"b")
    for name in (b"a", b"never given"):
        with pytest.raises(Refused):
            await handle.redeem(name, "https://page")
    assert await handle.redeem(b"b", "https://page") == Principal("ada")


async def test_a_store_that_does_not_answer_refuses_tickets_for_now(
    cluster: Cluster, handle: StoreHandle
) -> None:
    cluster.start()
    cluster.remote.failure = RayActorError()
    for ask in (handle.redeem(b"a", None), handle.issue(b"a", Principal("ada"), None)):
        with pytest.raises(Refused) as refused:
            await ask
        assert refused.value.refusal.name == "store_lost"


@pytest.mark.parametrize(
    "failure", [RayActorError(), RuntimeError("UNAVAILABLE"), TimeoutError(), KeyError("a bug")]
)
async def test_whatever_a_call_raises_is_a_lost_store(
    cluster: Cluster, handle: StoreHandle, failure: Exception
) -> None:
    cluster.start()
    cluster.remote.failure = failure
    asks: list[Callable[[], Awaitable[Any]]] = [
        lambda: handle.hold("s", TITLE),
        lambda: handle.park("s", TITLE, Parked()),
        lambda: claim(handle),
        lambda: handle.forget("s", TITLE),
        lambda: handle.renew({TOKEN: "s"}),
    ]
    for ask in asks:
        with pytest.raises(StoreLost, match=type(failure).__name__):
            await ask()


async def test_a_store_that_goes_hands_over_and_passes_on_what_it_is_asked(
    cluster: Cluster, handle: StoreHandle
) -> None:
    old = cluster.start()
    told = cluster.told[-1]
    await asyncio.sleep(0)  # it waits to be told
    await handle.hold("held", TITLE)
    await handle.park("s", TITLE, Parked(control_seq=7))
    new = cluster.start()
    early = asyncio.create_task(claim(handle))  # the router has heard of the new one already
    await asyncio.sleep(0)
    assert not early.done(), "the records may be on their way"
    told.set()
    async with asyncio.timeout(5):
        back = await early
    assert back.parked is not None
    assert back.parked.control_seq == 7
    assert new._store.knows("held")
    await old.ask("park", "late", TITLE, Parked())
    assert new._store.knows("late")
    assert not old._store.knows("late")


async def test_a_bug_in_the_handover_is_counted_and_it_begins_again(
    cluster: Cluster, handle: StoreHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cluster.start()
    await handle.hold("held", TITLE)
    new = cluster.start()
    portions = old._store.portions

    def planted(*arguments: Any) -> Any:
        monkeypatch.setattr(old._store, "portions", portions)
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(old._store, "portions", planted)
    for told in cluster.told:  # the new one, which has no successor, goes on looking for one
        told.set()
    await asyncio.wait_for(new._heir.wait(), 10)
    assert new._store.knows("held")
    bugs = "segstream_unhandled_exceptions_total"
    assert old._metrics.registry.get_sample_value(bugs) == 1


async def test_a_release_that_no_replica_answers_is_a_lost_store(
    handle: StoreHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [RayActorError(), KeyError("a bug")]

    async def outcomes(*_: Any) -> list[Any]:
        return answers

    monkeypatch.setattr(session_store, "each_outcome", outcomes)
    monkeypatch.setattr(session_store, "apart", lambda *_: None)
    with pytest.raises(StoreLost, match="KeyError, RayActorError"):
        await handle.release("s")
    answers.append(False)
    assert await handle.release("s") is False
    answers.append(True)
    assert await handle.release("s") is True


async def test_a_store_without_a_predecessor_lets_a_stranger_wait_but_not_for_ever(
    cluster: Cluster, handle: StoreHandle
) -> None:
    cluster.start()
    with pytest.raises(ClaimRefused):
        await claim(handle)
