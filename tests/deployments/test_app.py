"""The application that arguments describe, built without a cluster."""

from __future__ import annotations

from typing import Any, cast

import pytest
import ray

from deployments import app
from deployments.app import UnsafeBind, build
from deployments.args import AppArgs


def graph(args: dict[str, Any], gpus: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Deployments by name, with the options that Serve would be given."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": gpus} if gpus else {})
    monkeypatch.setattr(app, "listens_on", lambda: "127.0.0.1")
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
    admission = {"max_sessions": 50, "returning_sessions": 10, "max_ungreeted": 5}
    args = {"ingress": {"admission": admission, "http": {"max_requests": 7}}}
    assert graph(args, 0, monkeypatch)["ingress"].max_ongoing_requests == 2 * (50 + 10 + 5 + 7)


def test_every_request_that_an_ingress_may_make_of_a_segmenter_has_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admission = {"max_sessions": 50, "returning_sessions": 10, "max_ungreeted": 5}
    args = {"ingress": {"replicas": 2, "admission": admission}}
    assert graph(args, 0, monkeypatch)["segmenter-main"].max_ongoing_requests == (65 + 2) * 2


def test_a_drain_has_the_grace_that_serve_gives_and_a_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployments = graph({"ingress": {"drain": {"grace_s": 33}}}, 0, monkeypatch)
    for name in ("ingress", "session-store"):
        config = deployments[name]._deployment_config
        assert config.graceful_shutdown_timeout_s == 33
        assert config.max_surge_percent == 100
    assert deployments["session-store"].num_replicas == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu-7.example", None])
def test_where_others_can_reach_it_the_operator_says_who_comes_in(
    monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(app, "listens_on", lambda: host)
    with pytest.raises(UnsafeBind, match=r"under ingress\.admission write auth: tok"):
        build(AppArgs())
    bound = build(AppArgs.model_validate({"ingress": {"admission": {"auth": "none"}}}))
    assert bound._bound_deployment.init_args[0].listens_on == host
