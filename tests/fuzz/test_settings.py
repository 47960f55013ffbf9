"""Settings: any mapping is refused in words, or is a value that comes back from what it dumps."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import yaml
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from deployments.args import AppArgs, IngressArgs, ModelReplicas, PoolArgs
from deployments.launch.configuration import SERVE_YAML
from ingress.policy import AccessToken, Admission, Jwt, JwtKey
from ingress.settings import (
    Batching,
    Drain,
    IngressSettings,
    Keepalive,
    Resume,
    Scraping,
    SessionLimits,
)
from ingress.wire.explain import explain
from models.catalog import MODES
from models.view import UnknownClass, View
from tests.fuzz.fuzzed import check_sentence, fuzzed, timed
from tests.fuzz.json_messages import KEYS, VALUES

MOST_MS = 50.0

GROUPS: Mapping[str, type[BaseModel]] = {
    "keepalive": Keepalive,
    "limits": SessionLimits,
    "resume": Resume,
    "drain": Drain,
    "batching": Batching,
    "metrics": Scraping,
    "admission": Admission,
    "ingress": IngressArgs,
    "stats": ModelReplicas,
    "pools": PoolArgs,
    "tokens": AccessToken,
    "keys": JwtKey,
    "jwt": Jwt,
}
SHIPPED = yaml.safe_load(SERVE_YAML.read_text())["applications"][0]["args"]

# What a yaml may hold, and what an operator may mean.
_ODD: st.SearchStrategy[Any] = st.sampled_from(
    [float("nan"), float("inf"), 10**400, -1, 0, 1, 2, 16, 1024, 2**20, 2**28, 2**62, 0.1, 0.5, 1.5,
     "1", "1e3", "auto", "cpu", "cuda", "torch", "openvino", "none", "tokens", "jwt", "HS256",
     "person", "parts", "main", "a" * 64, "https://a.example", "*", "10.0.0.0/8", "/etc/key", "KEY",
     True, None, "", [], {}, [1, 2], [2, 1], [[]], b"\xff", "x" * 9000, ["person"], ["HS256"]]
)  # fmt: skip
ODD = _ODD | VALUES
OURS = "ingress. https://host"  # the yaml's own key, as it begins a place; what to write
ANY_KEYS = KEYS | st.none() | st.integers() | st.booleans() | st.floats()


@st.composite
def groups(draw: Callable[..., Any], model: type[BaseModel], depth: int = 0) -> Any:
    """A mapping for ``model``: some of its keys, sensible values or odd ones, perhaps others."""
    if depth and draw(st.integers(0, 14)) == 0:
        return draw(ODD)
    known = list(model.model_fields)
    made: dict[Any, Any] = {}
    for key in draw(st.lists(st.sampled_from(known), max_size=4, unique=True)):
        inner = GROUPS.get(key)
        if inner is None:
            made[key] = draw(ODD)
        elif key in ("pools", "tokens", "keys"):
            made[key] = draw(st.lists(groups(inner, depth + 1), max_size=3))
        else:
            made[key] = draw(groups(inner, depth + 1))
    if draw(st.integers(0, 2)) == 0:
        made[draw(ANY_KEYS)] = draw(ODD)
    return made


@st.composite
def changed(draw: Callable[..., Any], shipped: Any) -> Any:
    """The shipped configuration with some of its values changed."""
    content = json.loads(json.dumps(shipped))
    for _ in range(draw(st.integers(0, 3))):
        at: Any = content
        while True:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            if not isinstance(at[key], dict | list) or not at[key] or draw(st.integers(0, 5)) == 0:
                at[key] = copy.deepcopy(draw(ODD))  # the next change may be in it
                break
            at = at[key]
    return content


views = st.dictionaries(st.sampled_from(list(View.model_fields)), ODD, max_size=4) | groups(View)
plausible = st.fixed_dictionaries(
    {},
    optional={
        "visualization_mode": st.sampled_from(["side_by_side", "blur", "side-by-side", "x"]),
        "overlay_opacity": st.floats(-0.1, 1.1),
        "class_filter": st.none() | st.lists(st.integers(-1, 7) | st.booleans(), max_size=5),
        "output": st.sampled_from(["overlay", "mask", "alpha", "none", "all"]),
        "quality": st.integers(0, 101),
        "max_side": st.none() | st.integers(15, 8193),
        "background": st.none() | st.integers(0, 101) | st.from_regex(r"#[0-9a-fA-F]{5,7}"),
    },
)


def check_comes_back(value: BaseModel) -> None:
    """It is what it dumps, be that kept as JSON or as a yaml."""
    model = type(value)
    assert model.model_validate(value.model_dump()) == value
    assert model.model_validate_json(value.model_dump_json()) == value
    plain = value.model_dump(mode="json")
    if not value.model_config.get("strict"):
        assert model.model_validate(yaml.safe_load(yaml.safe_dump(plain))) == value


@fuzzed(600, settings=plausible | views, classes=st.integers(1, 6))
def test_views(settings: dict[Any, Any], classes: int) -> None:
    if not all(isinstance(key, str) for key in settings):
        return  # JSON has no others
    try:
        view = timed(partial(View().updated, settings, classes), MOST_MS, __name__)
    except (ValidationError, UnknownClass) as error:
        words = explain(error, View) if isinstance(error, ValidationError) else str(error)
        check_sentence(words, settings, 2000)
        return
    check_comes_back(view)
    assert all(c < classes for c in view.class_filter or ()) or "class_filter" not in settings
    assert set(view.for_classes(1).class_filter or ()) <= {0}


@fuzzed(300, args=groups(AppArgs) | changed(SHIPPED) | ODD)
def test_the_args_of_a_yaml(args: Any) -> None:
    try:
        read = timed(partial(AppArgs.model_validate, args), MOST_MS, __name__)
    except ValidationError as error:
        (problem,) = error.errors()
        check_sentence(problem["msg"], (args, OURS), 40_000)
        return
    check_comes_back(read)
    told = read.ingress_settings("127.0.0.1")
    assert isinstance(told, IngressSettings)
    check_comes_back(told)
    hosted = list(itertools.chain.from_iterable(pool.modes for pool in read.pools))
    assert read.default_mode in hosted
    assert set(hosted) <= MODES.keys()


@fuzzed(300, drawn=st.sampled_from(sorted(GROUPS)).flatmap(
    lambda name: st.tuples(st.just(name), groups(GROUPS[name]))))  # fmt: skip
def test_each_group(drawn: tuple[str, Any]) -> None:
    name, content = drawn
    model = GROUPS[name]
    try:
        group = timed(partial(model.model_validate, content), MOST_MS, __name__)
    except ValidationError as error:
        check_sentence(explain(error, model), (content, OURS), 40_000)
        return
    check_comes_back(group)
