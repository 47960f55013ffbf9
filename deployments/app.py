"""The application: ``import_path: deployments.app:build`` in configs/serve.yaml.

Config flows one way: yaml, ``AppArgs``, constructor arguments. GPUs are asked
for here, in code, because ``auto`` depends on the cluster; a ``deployments:``
section in the yaml would override it.

No ``from __future__ import annotations`` here: Serve reads the annotation of
``build`` itself, to check ``args``, and does not resolve strings.
"""

from typing import Any

import ray
from ray import serve
from ray.serve import Application

from deployments import session_store
from deployments.args import AppArgs, ModelReplicas, PoolArgs
from deployments.ingress import Ingress
from deployments.resources import gpus_per_replica
from deployments.segmenter import Segmenter
from deployments.serve.listening import listens_on
from deployments.stats import StatsAnalyst
from ingress.admission.addresses import is_loopback
from ingress.policy import unsafe_bind
from models.pictures.limits import ImageLimits

# A redeploy starts new replicas before it stops the old ones: clients that are let go find one.
# Those that take a GPU may not fit twice, so they are replaced one for one.
_SUCCESSORS_FIRST = 100

# Its calls are short; Serve's own limit of 5 would queue the sessions of a drain.
_STORE_CALLS = 1000

# How often a replica that is to stop looks whether it has calls under way: with Serve's own 2 s
# every deployment in turn adds as much to a stop.
_STOPS: dict[str, Any] = {"graceful_shutdown_wait_loop_s": 0.5}


class UnsafeBind(Exception):
    """The application must not be served there as it is; the words say what to write."""


def build(args: AppArgs) -> Application:
    """The application that ``args`` describe.

    Raises:
        NoGpu: a deployment is to run on CUDA and the cluster has no GPU.
        UnsafeBind: others can reach the server, and nobody said how they sign in.
    """
    host = listens_on()
    if why := unsafe_bind(host, args.ingress.admission.auth, on_loopback=is_loopback(host)):
        raise UnsafeBind(why)
    gpus = float(ray.cluster_resources().get("GPU", 0))
    pools: dict[str, Application] = {}
    for pool in args.pools:
        bound = _segmenter(pool, args, gpus)
        pools.update(dict.fromkeys(pool.modes, bound))
    stats = serve.deployment(
        name="stats",
        num_replicas=args.stats.replicas,
        **_STOPS,
        **_resources(args.stats, args, gpus),
    )(StatsAnalyst).bind(args.stats.device)
    # A socket is an ongoing request for as long as it lives; the app's own limit must come
    # first, because at Serve's a handshake hangs without a word.
    ingress = serve.deployment(
        name="ingress",
        num_replicas=args.ingress.replicas,
        max_ongoing_requests=2 * (_places(args) + args.ingress.http.max_requests),
        graceful_shutdown_timeout_s=args.ingress.drain.grace_s,
        max_surge_percent=_SUCCESSORS_FIRST,
        **_STOPS,
        ray_actor_options={"num_cpus": args.ingress.cpus_per_replica},
    )(Ingress)
    return ingress.bind(args.ingress_settings(host), pools, stats, _session_store(args))


def _session_store(args: AppArgs) -> Application:
    store = serve.deployment(
        name=session_store.NAME,
        num_replicas=1,
        max_ongoing_requests=_STORE_CALLS,
        graceful_shutdown_timeout_s=args.ingress.drain.grace_s,
        max_surge_percent=_SUCCESSORS_FIRST,
        **_STOPS,
        ray_actor_options={"num_cpus": args.ingress.cpus_per_replica},
    )(session_store.SessionKeeper)
    return store.bind(args.ingress.resume, args.ingress.admission)


def _places(args: AppArgs) -> int:
    """How many sessions and sockets one ingress replica may hold."""
    admission = args.ingress.admission
    return admission.max_sessions + admission.returning_sessions + admission.max_ungreeted


def _segmenter(pool: PoolArgs, args: AppArgs, gpus: float) -> Application:
    limits = args.ingress.limits
    segmenter = serve.deployment(
        name=f"segmenter-{pool.name}",
        num_replicas=pool.replicas,
        # Batches come over lines of their own. Through Serve comes who waits for a mode to load,
        # every session at the worst, and each ingress replica asks where the lines go and for the
        # metrics: none of them is to wait for another.
        max_ongoing_requests=(_places(args) + 2) * args.ingress.replicas,
        **_STOPS,
        **_resources(pool, args, gpus),
    )(Segmenter)
    return segmenter.bind(
        pool.modes,
        args.default_mode if args.default_mode in pool.modes else pool.modes[0],
        pool.device,
        pool.runtime,
        pool.threads,
        ImageLimits(
            max_pixels=limits.max_frame_pixels,
            max_bytes=limits.max_frame_bytes,
            frame_work_ms=limits.frame_work_ms,
            single_work_ms=limits.single_work_ms,
            frame_draw_ms=limits.frame_draw_ms,
            single_draw_ms=limits.single_draw_ms,
            max_result_bytes=limits.max_result_bytes,
        ),
    )


def _resources(deployment: ModelReplicas, args: AppArgs, gpus: float) -> dict[str, Any]:
    sharers = [d for d in (*args.pools, args.stats) if d.device != "cpu"]
    share = gpus_per_replica(
        deployment.device,
        deployment.gpus_per_replica,
        gpus,
        sum(sharer.replicas for sharer in sharers),
    )
    return {"ray_actor_options": {"num_cpus": deployment.cpus_per_replica, "num_gpus": share}}
