"""What the yaml may say, and how a mistake in it reads."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deployments.args import AppArgs
from deployments.launch.configuration import SERVE_YAML
from deployments.lines import channel
from ingress.settings import CALL_BYTES
from models.catalog import MODES


def test_the_shipped_configuration_is_valid_and_hosts_every_mode() -> None:
    content = yaml.safe_load(SERVE_YAML.read_text())
    args = AppArgs.model_validate(content["applications"][0]["args"])
    assert {mode for pool in args.pools for mode in pool.modes} == set(MODES)
    assert args.ingress_settings("127.0.0.1").keepalive.heartbeat_s == 10


def test_no_args_at_all_is_a_laptop() -> None:
    args = AppArgs()
    assert [pool.name for pool in args.pools] == ["main"]


def test_what_a_call_may_hold_a_line_carries() -> None:
    assert channel._LONGEST >= CALL_BYTES + 2**20


POOL = {"name": "main", "modes": ["person"]}
EMPTY = hashlib.sha256(b"").hexdigest()


def ingress(**groups: dict[str, Any] | list[int]) -> dict[str, Any]:
    return {"ingress": groups}


def pool(**more: Any) -> dict[str, Any]:
    return {"pools": [{**POOL, **more}]}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"defalt_mode": "person"}, 'did you mean "default_mode"'),
        ({"ingress": {"replica": 2}}, 'ingress.replica: unknown key (did you mean "replicas"?)'),
        ({"ingress": {"keepalive": {"hartbeat_s": 1}}}, 'did you mean "heartbeat_s"'),
        ({"ingress": {"limits": {"max_frame_byte": 1}}}, 'did you mean "max_frame_bytes"'),
        ({"pools": [{**POOL, "gpu": 1}]}, "pools.0.gpu: unknown key"),
        ({"ingress": {"keepalive": {"heartbeat_s": 0}}}, "equal to 0.1"),
        ({"pools": [{"name": "main", "modes": ["persn"]}]}, 'did you mean "person"'),
        ({"pools": [POOL, {"name": "b", "modes": ["person"]}]}, "one pool"),
        ({"pools": [POOL, {**POOL, "modes": ["parts"]}]}, "one name"),
        ({"pools": [{"name": "b", "modes": ["parts"]}]}, "default_mode: no pool hosts"),
        ({"pools": [{**POOL, "device": "cpu", "gpus_per_replica": 1}]}, "device is cpu"),
        ({"pools": [{**POOL, "device": "cuda", "gpus_per_replica": 0}]}, "device is cuda"),
        ({"pools": [{**POOL, "gpus_per_replica": -1}]}, "negative"),
        ({"pools": [{**POOL, "device": "tpu"}]}, "device"),
        ({"pools": [{**POOL, "name": "Main Pool"}]}, "pools.0.name"),
        # Times that contradict each other.
        (ingress(drain={"grace_s": 2}), "drain.grace_s is 2, below resume.store_timeout_s, 3"),
        (ingress(resume={"ttl_s": 2}), "ingress.resume: ttl_s is 2, below store_timeout_s, 3"),
        (
            ingress(keepalive={"heartbeat_s": 3, "timeout_s": 4}),
            "limits.hello_timeout_s is 10, but who is silent for keepalive.heartbeat_s + "
            "timeout_s, 7 s, is let go before; lower it to that at most",
        ),
        (ingress(retry_ms=[900, 100]), "retry_ms: the earliest comes first: [100, 900]"),
        (ingress(drain={"retry_ms": [-1, 100]}), "ingress.drain.retry_ms.0"),
        (ingress(drain={"retry_ms": [0, 10**9]}), "ingress.drain.retry_ms.1"),
        (ingress(limits={"idle_timeout_s": float("inf")}), "idle_timeout_s: input should be a fin"),
        (ingress(limits={"send_timeout_s": float("nan")}), "send_timeout_s: input should be a fin"),
        (ingress(keepalive={"heartbeat_s": 0.09}), "ingress.keepalive.heartbeat_s"),
        # Sizes that cannot work.
        (
            ingress(limits={"max_frame_bytes": 2**28, "max_message_bytes": 2**29}),
            "limits.max_frame_bytes and batching.max_batch_bytes",
        ),
        (ingress(batching={"max_batch_bytes": 2**28}), f"together at most {CALL_BYTES}"),
        (ingress(resume={"max_parked_bytes": 2**20}), "resume.max_parked_bytes is 1048576"),
        (ingress(admission={"max_sessions": 2_000_000_000}), "less than or equal to 16384"),
        # What does not go together.
        (pool(gpus_per_replica=1.5), "above 1 must be a whole number"),
        (pool(gpus_per_replica=float("inf")), "finite"),
        (pool(device="cuda", runtime="openvino"), "set runtime to torch, or device to cpu"),
        # Who may come in.
        (ingress(admission={"allowed_origins": ["https://a.example/"]}), "without a path or a sl"),
        (ingress(admission={"allowed_origins": ["https://a.example/page"]}), "allowed_origins"),
        (ingress(admission={"allowed_origins": ["a.example"]}), "no origin that a browser sends"),
        (ingress(admission={"operator_token_sha256": EMPTY}), "the SHA-256 of nothing"),
    ],
)
def test_a_mistake_is_told_in_words(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AppArgs.model_validate(args)
    assert words in str(caught.value)
    assert len(str(caught.value.errors()[0]["msg"]).splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        pool(gpus_per_replica=2),
        pool(gpus_per_replica=0.25),
        pool(device="cuda", runtime="torch"),
        pool(device="auto", runtime="openvino"),
        ingress(drain={"grace_s": 3}),
        ingress(retry_ms=[0, 0]),
        ingress(admission={"allowed_origins": ["https://A.example:8443", "http://[::1]", "null"]}),
        ingress(admission={"max_sessions": 16_384}),
    ],
)
def test_what_is_at_the_edge_is_taken(args: dict[str, Any]) -> None:
    AppArgs.model_validate(args)
