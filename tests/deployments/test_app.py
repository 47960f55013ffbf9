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
    _, pools, stats, store = cast(tuple[Any, ...], ingress.init_args)
    others = (stats, store, *pools.values())
    bound = [ingress, *(other._bound_deployment for other in others)]
    return {deployment.name: deployment for deployment in bound}


def test_a_laptop_has_one_of_each_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    deployments = graph({}, 0, monkeypatch)
    assert set(deployments) == {"ingress", "stats", "segmenter-main", "session-store"}
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


def test_every_request_that_an_ingress_may_make_of_a_segmenter_has_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = {"ingress": {"replicas": 2, "admission": {"max_sessions": 50}}}
    assert graph(args, 0, monkeypatch)["segmenter-main"].max_ongoing_requests == (50 + 2) * 2


def test_a_drain_has_the_grace_that_serve_gives_and_a_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployments = graph({"ingress": {"drain": {"grace_s": 33}}}, 0, monkeypatch)
    for name in ("ingress", "session-store"):
        config = deployments[name]._deployment_config
        assert config.graceful_shutdown_timeout_s == 33
        assert config.max_surge_percent == 100
    assert deployments["session-store"].num_replicas == 1
