"""Servers come and go; each is equipped once, renewed, and given up where it cannot be."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.exceptions import ActorDiedError
from ray.serve._private import constants, proxy, replica

from deployments.serve import outfitter
from deployments.serve.outfitter import Outfitter, Place, Places

RENEW_S = outfitter._RENEW_S


@dataclass(slots=True)
class Cluster:
    """Servers by name, with what each says when it is to be equipped; those that were asked."""

    up: dict[str, bool | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    now: float = 0.0
    hidden: Exception | None = None

    def find(self) -> Places:
        if self.hidden:
            raise self.hidden
        return {name: Place(self._equipper(name), f"no {name}") for name in self.up}

    def _equipper(self, name: str) -> Callable[[], Awaitable[bool]]:
        async def equip() -> bool:
            self.asked.append(name)
            said = self.up[name]
            if isinstance(said, Exception):
                raise said
            return said

        return equip

    def outfitter(self) -> Outfitter:
        return Outfitter(self.find, lambda: self.now)


async def test_a_server_is_equipped_when_it_is_seen_and_renewed_when_that_is_due() -> None:
    cluster = Cluster({"a": True})
    ours = cluster.outfitter()
    await ours.look()
    await ours.look()
    assert cluster.asked == ["a"]
    cluster.up["b"] = True
    await ours.look()
    assert cluster.asked == ["a", "b"]
    cluster.now = RENEW_S
    await ours.look()
    assert cluster.asked == ["a", "b", "a", "b"]


async def test_one_that_died_and_is_back_under_another_name_is_equipped() -> None:
    cluster = Cluster({"a, 1": True})
    ours = cluster.outfitter()
    await ours.look()
    cluster.up = {"a, 2": True}
    await ours.look()
    assert cluster.asked == ["a, 1", "a, 2"]


@pytest.mark.parametrize("not_yet", [False, ActorDiedError(), TimeoutError()])
async def test_one_that_is_not_up_is_asked_again(
    not_yet: bool | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster({"a": not_yet, "b": True})
    ours = cluster.outfitter()
    await ours.look()
    cluster.up["a"] = True
    await ours.look()
    await ours.look()
    assert cluster.asked == ["a", "b", "a"]
    assert not caplog.records


async def test_one_that_is_another_costs_one_warning_and_the_rest_are_equipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster({"a": AttributeError("it moved"), "b": True})
    ours = cluster.outfitter()
    await ours.look()
    cluster.now = RENEW_S
    await ours.look()
    assert cluster.asked == ["a", "b", "b"]
    (record,) = caplog.records
    words = "hides what is to be equipped in a (AttributeError('it moved')): no a"
    assert words in record.getMessage()


async def test_where_nothing_can_be_found_it_says_so_and_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outfitter, "_LOOK_EVERY_S", 0)
    cluster = Cluster({"a": True}, hidden=AttributeError("list_named_actors"))
    running = asyncio.create_task(cluster.outfitter().run())
    async with asyncio.timeout(5):
        while not caplog.records:  # noqa: ASYNC110 - its loop has no event to wait for
            await asyncio.sleep(0)
        cluster.hidden = None
        while not cluster.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert "hides what is to be equipped in Serve's actors" in caplog.records[0].getMessage()


def test_serve_still_has_what_we_reach_for() -> None:
    assert constants.SERVE_PROXY_NAME == outfitter.PROXY_ACTOR
    assert constants.SERVE_CONTROLLER_NAME == outfitter.CONTROLLER_ACTOR
    assert outfitter.PROXY in vars(proxy)
    assert constants.SERVE_NAMESPACE == outfitter.NAMESPACE
    assert "self._running_http_server_task, _ = await self._start_http_server_task" in (
        inspect.getsource(proxy)
    )
    assert "self._direct_ingress_http_server," in inspect.getsource(replica)


async def test_peers_are_named_while_all_that_is_seen_is_equipped() -> None:
    cluster = Cluster({"ours": True, "haproxy": False})
    ours = cluster.outfitter()
    assert not ours.named_peers(), "before the first look"
    await ours.look()
    assert not ours.named_peers(), "HAProxy still reloads"
    cluster.up["haproxy"] = True
    await ours.look()
    assert ours.named_peers()
    cluster.up["another node's"] = False
    await ours.look()
    assert not ours.named_peers()
    cluster.up["another node's"] = AttributeError("another template")
    await ours.look()
    assert not ours.named_peers(), "and never will"
