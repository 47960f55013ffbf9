"""Validation failures as sentences for a peer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, ValidationError

from ingress.wire.explain import explain, known_keys, nearest


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depth: int = Field(0, ge=0)
    shade: Literal["light", "dark"] = "light"


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = "oak"
    colour: Annotated[str, StringConstraints(pattern="^#")] | StrictInt | None = None
    leaf: Leaf | None = None
    leaves: list[Leaf] = []


class Needs(BaseModel):
    a: int
    b: int
    c: int
    d: int
    e: int


def words(model: type[BaseModel], value: Any, *, keys: bool = True) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return explain(caught.value, model if keys else None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"nam": "x"}, 'nam: unknown key (did you mean "name"?)'),
        ({"zzz": 1}, "zzz: unknown key; known are colour, leaf, leaves, name"),
        ({"leaf": {"dept": 1}}, 'leaf.dept: unknown key (did you mean "depth"?)'),
        ({"leaves": [{}, {"shad": 1}]}, 'leaves.1.shad: unknown key (did you mean "shade"?)'),
        ({"leaf": {"depth": -1}}, "leaf.depth: input should be greater than or equal to 0"),
        ({"leaf": {"shade": "x"}}, "leaf.shade: input should be 'light' or 'dark'"),
        (
            {"colour": "red"},
            "colour: string should match pattern '^#', or input should be a valid integer",
        ),
        ({"leaf": 3}, "leaf: input should be an object"),
        (3, "input should be an object"),
    ],
)
def test_a_failure_names_the_place_and_what_is_allowed(value: Any, expected: str) -> None:
    assert words(Tree, value) == expected


@pytest.mark.parametrize("key", ["int", "str", "a[b", "constrained-x"])
def test_a_key_that_reads_like_a_type_is_named_all_the_same(key: str) -> None:
    assert words(Tree, {key: 1}).startswith(f"{key}: unknown key")


def test_without_a_model_no_keys_are_offered() -> None:
    assert words(Tree, {"nam": "x"}, keys=False) == "nam: unknown key"


def test_only_the_first_three_places_are_told_in_full() -> None:
    told = words(Needs, {})
    assert told == (
        "a: required and missing; b: required and missing; c: required and missing; and 2 more"
    )


def test_long_keys_are_cut() -> None:
    assert len(words(Tree, {"k" * 10_000: 1}, keys=False)) < 100


def test_what_is_not_told_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def close(word: str, known: list[str], n: int) -> list[str]:
        compared.append(word)
        return []

    monkeypatch.setattr("ingress.wire.explain.difflib.get_close_matches", close)
    assert words(Tree, {f"{i:03}" + "k" * 1000: 1 for i in range(500)}).endswith("and 497 more")
    assert [len(word) for word in compared] == [60, 60, 60]


@given(st.text(min_size=8), st.sampled_from(["name", "colour", "leaf", "leaves"]))
def test_the_value_is_never_echoed(value: str, key: str) -> None:
    secret = f"<{value}>"
    told = words(Tree, {key: {secret: secret}})
    assert told.replace(secret[:60], "").count(secret) == 0
    assert "Leaf" not in told
    assert "Tree" not in told


def test_nearest_is_silent_where_nothing_is_near() -> None:
    assert nearest("person", ["persom", "parts"]) == ' (did you mean "persom"?)'
    assert nearest("zzzz", ["person", "parts"]) == ""


@pytest.mark.parametrize(
    ("loc", "keys"),
    [
        (("x",), {"name", "colour", "leaf", "leaves"}),
        (("leaf", "x"), {"depth", "shade"}),
        (("leaves", 3, "x"), {"depth", "shade"}),
        (("name", "x"), set()),
        (("nothing", "x"), set()),
    ],
)
def test_known_keys_follow_the_path(loc: tuple[int | str, ...], keys: set[str]) -> None:
    assert known_keys(Tree, loc) == keys
