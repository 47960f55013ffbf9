"""Replicas are counted as Serve reports them, at most every few seconds, and never in the way."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from deployments.metrics.census import ReplicaCensus


class Controller:
    """What ``serve.status`` says, and how often it was asked."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, int]] = {}
        self.failure: Exception | None = None
        self.asked = 0

    def status(self) -> Any:
        self.asked += 1
        if self.failure:
            raise self.failure
        deployments = {
            name: SimpleNamespace(replica_states=states) for name, states in self.states.items()
        }
        return SimpleNamespace(applications={"segstream": SimpleNamespace(deployments=deployments)})


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    controller = Controller()
    monkeypatch.setattr(serve, "status", controller.status)
    return controller


async def test_running_replicas_are_counted_by_deployment(controller: Controller) -> None:
    controller.states = {"ingress": {"RUNNING": 2, "STARTING": 1}, "stats": {"STOPPING": 1}}
    assert await ReplicaCensus("segstream").replicas() == {"ingress": 2, "stats": 0}


async def test_the_count_is_kept_for_a_while(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 0.5
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: moment)
    census = ReplicaCensus("segstream")
    controller.states = {"ingress": {"RUNNING": 1}}
    await census.replicas()
    controller.states = {"ingress": {"RUNNING": 2}}
    moment += 4.9
    assert await census.replicas() == {"ingress": 1}
    moment += 0.2
    assert await census.replicas() == {"ingress": 2}
    assert controller.asked == 2


async def test_those_who_ask_at_once_cost_one_question(controller: Controller) -> None:
    census = ReplicaCensus("segstream")
    await asyncio.gather(*(census.replicas() for _ in range(10)))
    assert controller.asked == 1


@pytest.mark.parametrize("failure", [RayError("gone"), RayServeException("restarting")])
async def test_a_controller_that_does_not_answer_leaves_the_figure_out(
    controller: Controller, failure: Exception
) -> None:
    controller.failure = failure
    assert await ReplicaCensus("segstream").replicas() == {}


async def test_an_application_that_is_not_listed_has_no_replicas(controller: Controller) -> None:
    assert await ReplicaCensus("another").replicas() == {}
