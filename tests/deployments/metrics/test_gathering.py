"""A page is there in time, with every replica that answers, whatever the others do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families
from ray import serve
from ray.exceptions import ActorUnavailableError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from deployments.metrics.exposition import Exposition, Families, written
from deployments.metrics.gathering import Gathering

TIMEOUT_S = 0.2


def families(deployment: str, replica: str) -> Families:
    registry = CollectorRegistry()
    Counter("frames", "Frames.", registry=registry).inc(7)
    return written(registry, deployment, replica)


class Call:
    """A replica's answer: families, an error, or a wait without end."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.cancelled = False

    async def get_async(self) -> Any:
        if self.outcome is None:
            await asyncio.Event().wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A deployment; ``calls`` is what its replicas answer, or why none is asked."""

    def __init__(self, name: str, calls: Sequence[Call] | BaseException | None) -> None:
        self.deployment_name = name
        self.calls = calls
        self.asked: list[tuple[str, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def options(self, **_: object) -> Handle:
        return self

    def broadcast(self, *said: str) -> Any:
        self.asked.append(said)
        return SimpleNamespace(_fetch_replica_results_async=self._fetch)

    async def _fetch(self) -> Sequence[Call]:
        await self.gate.wait()
        if self.calls is None:
            await asyncio.Event().wait()
        if isinstance(self.calls, BaseException):
            raise self.calls
        assert self.calls is not None
        return self.calls


Make = Callable[..., Gathering]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    here = SimpleNamespace(deployment="ingress", replica_tag="me")
    monkeypatch.setattr(serve, "get_replica_context", lambda: here)

    def make(*others: Handle, siblings: Handle | None = None) -> Gathering:
        handles: Any = (siblings or Handle("ingress", [Call(())]), *others)
        return Gathering(Exposition(CollectorRegistry()), handles, TIMEOUT_S)

    return make


def samples(page: bytes, name: str, label: str) -> dict[str, float]:
    return {
        sample.labels[label]: sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name == name
    }


def replicas(page: bytes) -> set[str]:
    return set(samples(page, "frames_total", "replica"))


def missing(page: bytes) -> dict[str, float]:
    return samples(page, "segstream_scrape_replicas_missing_total", "deployment")


async def timed(scrape: Awaitable[bytes]) -> tuple[bytes, float]:
    begun = time.monotonic()
    return await scrape, time.monotonic() - begun


def answering(name: str, *ids: str) -> Handle:
    return Handle(name, [Call(families(name, replica)) for replica in ids])


async def test_every_replica_of_every_deployment_is_on_the_page(make: Make) -> None:
    siblings = Handle("ingress", [Call(()), Call(families("ingress", "sibling"))])
    main, stats = answering("segmenter-main", "a", "b"), answering("stats", "c")
    page = await make(main, main, stats, siblings=siblings).page()
    assert replicas(page) == {"sibling", "a", "b", "c"}
    assert "process_open_fds" in page.decode(), "this replica's own"
    assert missing(page) == {"ingress": 0, "segmenter-main": 0, "stats": 0}
    assert main.asked == [("exposition", "me")], "once, although two modes are there"


@pytest.mark.parametrize("wrong", [None, ActorUnavailableError("gone", None), RuntimeError("grpc")])
async def test_a_replica_that_hangs_or_died_is_left_out_and_counted(
    make: Make, wrong: BaseException | None
) -> None:
    ill = Call(wrong)
    pool = Handle("segmenter-main", [Call(families("segmenter-main", "a")), ill])
    page, took_s = await timed(make(pool, answering("stats", "c")).page())
    assert replicas(page) == {"a", "c"}
    assert missing(page) == {"ingress": 0, "segmenter-main": 1, "stats": 0}
    assert took_s < TIMEOUT_S + 2
    assert ill.cancelled is (wrong is None)


@pytest.mark.parametrize("why", [DeploymentUnavailableError(DeploymentID("stats")), None])
async def test_a_deployment_without_a_replica_to_ask_is_counted_once(
    make: Make, why: BaseException | None
) -> None:
    page, took_s = await timed(make(answering("main", "a"), Handle("stats", why)).page())
    assert replicas(page) == {"a"}
    assert missing(page)["stats"] == 1
    assert took_s < TIMEOUT_S + 2


async def test_a_first_replica_that_knows_no_siblings_yet_misses_none(make: Make) -> None:
    alone = Handle("ingress", DeploymentUnavailableError(DeploymentID("ingress")))
    assert missing(await make(siblings=alone).page()) == {"ingress": 0}


async def test_scrapes_that_come_together_share_gatherings(make: Make) -> None:
    pool = answering("segmenter-main", "a")
    pool.gate.clear()
    gathering = make(pool)
    scrapes = [asyncio.create_task(gathering.page()) for _ in range(50)]
    await asyncio.sleep(0)  # the first has begun and the others wait
    pool.gate.set()
    pages = await asyncio.gather(*scrapes)
    assert len(pool.asked) == 2, "the one under way, and one for all who came meanwhile"
    assert all(replicas(page) == {"a"} for page in pages)


async def test_a_page_holds_what_happened_before_it_was_asked_for(make: Make) -> None:
    pool = answering("segmenter-main", "old")
    pool.gate.clear()
    gathering = make(pool)
    first = asyncio.create_task(gathering.page())
    await asyncio.sleep(0.01)
    second = asyncio.create_task(gathering.page())
    await asyncio.sleep(0)
    calls, pool.gate = pool.gate, asyncio.Event()
    pool.gate.set()
    calls.set()
    await first
    pool.calls = [Call(families("segmenter-main", "new"))]
    assert replicas(await second) == {"new"}


async def test_a_scrape_that_is_given_up_ends_no_other_and_leaves_no_task(make: Make) -> None:
    pool = answering("segmenter-main", "a")
    pool.gate.clear()
    gathering = make(pool)
    impatient = asyncio.create_task(gathering.page())
    await asyncio.sleep(0)
    impatient.cancel()
    pool.gate.set()
    assert replicas(await gathering.page()) == {"a"}
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert asyncio.all_tasks() == {asyncio.current_task()}
