"""The application that arguments describe, built without a cluster."""

from __future__ import annotations

from typing import Any, cast

import pytest
import ray

from deployments.app import build
from deployments.args import AppArgs


def graph(args: dict[str, Any], gpus: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Deployments by name, with the options that Serve would be given."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": gpus} if gpus else {})
    ingress = build(AppArgs.model_validate(args))._bound_deployment
    _, pools, stats = cast(tuple[Any, ...], ingress.init_args)
    bound = [ingress, stats._bound_deployment, *(p._bound_deployment for p in pools.values())]
    return {deployment.name: deployment for deployment in bound}


def test_a_laptop_has_one_of_each_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    deployments = graph({}, 0, monkeypatch)
    assert set(deployments) == {"ingress", "stats", "segmenter-main"}
    for deployment in deployments.values():
        assert not deployment.ray_actor_options.get("num_gpus")


def test_pools_share_the_gpus_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = [
        {"name": "light", "modes": ["person", "person-wide"], "replicas": 2},
        {"name": "heavy", "modes": ["parts", "salient"], "replicas": 2, "device": "cuda"},
    ]
    deployments = graph({"pools": pools, "ingress": {"replicas": 3}}, 2, monkeypatch)
    assert deployments["segmenter-light"].ray_actor_options["num_gpus"] == 0.5
    assert deployments["segmenter-heavy"].ray_actor_options["num_gpus"] == 0.5
    assert deployments["segmenter-heavy"].num_replicas == 2
    assert deployments["stats"].ray_actor_options["num_gpus"] == 0
    assert deployments["ingress"].num_replicas == 3
    assert deployments["segmenter-heavy"].init_args[1] == "parts"
    assert deployments["segmenter-light"].init_args[1] == "person"


def test_the_apps_own_session_limit_comes_before_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"ingress": {"admission": {"max_sessions": 50}}}
    assert graph(args, 0, monkeypatch)["ingress"].max_ongoing_requests == 100


def test_every_call_that_an_ingress_may_make_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"ingress": {"replicas": 2, "batching": {"max_calls": 5}}}
    assert graph(args, 0, monkeypatch)["segmenter-main"].max_ongoing_requests == (5 * 4 + 1) * 2
