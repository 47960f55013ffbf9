"""What the yaml may say, and how a mistake in it reads."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deployments.args import AppArgs
from deployments.launch.configuration import SERVE_YAML
from models.catalog import MODES


def test_the_shipped_configuration_is_valid_and_hosts_every_mode() -> None:
    content = yaml.safe_load(SERVE_YAML.read_text())
    args = AppArgs.model_validate(content["applications"][0]["args"])
    assert {mode for pool in args.pools for mode in pool.modes} == set(MODES)
    assert args.ingress_settings().keepalive.heartbeat_s == 10


def test_no_args_at_all_is_a_laptop() -> None:
    args = AppArgs()
    assert [pool.name for pool in args.pools] == ["main"]


POOL = {"name": "main", "modes": ["person"]}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"defalt_mode": "person"}, 'did you mean "default_mode"'),
        ({"ingress": {"replica": 2}}, 'ingress.replica: unknown key (did you mean "replicas"?)'),
        ({"ingress": {"keepalive": {"hartbeat_s": 1}}}, 'did you mean "heartbeat_s"'),
        ({"ingress": {"limits": {"max_frame_byte": 1}}}, 'did you mean "max_frame_bytes"'),
        ({"pools": [{**POOL, "gpu": 1}]}, "pools.0.gpu: unknown key"),
        ({"ingress": {"keepalive": {"heartbeat_s": 0}}}, "greater than 0"),
        ({"pools": [{"name": "main", "modes": ["persn"]}]}, 'did you mean "person"'),
        ({"pools": [POOL, {"name": "b", "modes": ["person"]}]}, "one pool"),
        ({"pools": [POOL, {**POOL, "modes": ["parts"]}]}, "one name"),
        ({"pools": [{"name": "b", "modes": ["parts"]}]}, "default_mode: no pool hosts"),
        ({"pools": [{**POOL, "device": "cpu", "gpus_per_replica": 1}]}, "device is cpu"),
        ({"pools": [{**POOL, "device": "cuda", "gpus_per_replica": 0}]}, "device is cuda"),
        ({"pools": [{**POOL, "gpus_per_replica": -1}]}, "negative"),
        ({"pools": [{**POOL, "device": "tpu"}]}, "device"),
        ({"pools": [{**POOL, "name": "Main Pool"}]}, "pools.0.name"),
    ],
)
def test_a_mistake_is_told_in_words(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AppArgs.model_validate(args)
    assert words in str(caught.value)
