"""JSON messages as strangers send them: real ones whose fields were changed, and torn text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[..., Any]
Message = dict[str, Any]

MOST_CHARS = 200_000  # of a torn text

_LONG: tuple[Any, ...] = (
    10**400,
    -(10**4200),
    "x" * 65,
    "k" * 5000,
    "é" * 300,
    [[]] * 400,
    {"a": {"b": {}}},
)
_EDGES: tuple[Any, ...] = (
    -1,
    0,
    1,
    2**31,
    2**32 - 1,
    2**32,
    2**63,
    2**64,
    0.5,
    1e308,
    -0.0,
    True,
    None,
    "",
    [],
)
_INSERTS = (
    '"', "{", "[", "]", "}", ",", ":", "\\", "\\u0000", "\\ud800", "\0", "1e999", "NaN",
    "-Infinity", "-", "null,", '"id":1,', '"a":[],', "[1,", '{"a":', "9", "\N{GRINNING FACE}",
    "\N{RIGHT-TO-LEFT OVERRIDE}",
)  # fmt: skip

KEYS = st.text(max_size=9) | st.sampled_from(["id", "type", "x" * 61, "k" * 5000, "/k", "\n"])

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(_EDGES)
    | st.sampled_from(_LONG)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


def mutated(messages: Sequence[Message]) -> st.SearchStrategy[str]:
    """The text of one of ``messages``, with fields changed, then perhaps torn."""
    return _mutated(messages)


@st.composite
def _mutated(draw: Draw, messages: Sequence[Message]) -> str:
    message: Any = draw(st.sampled_from(messages))
    for _ in range(draw(st.integers(0, 4))):
        message = _changed(draw, message)
    text: str = json.dumps(message, ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        text = _torn(draw, text)
    return text


def _changed(draw: Draw, value: Any, depth: int = 0) -> Any:
    """``value`` with one change, at any depth."""
    if not isinstance(value, dict | list) or not value or _seldom(draw, 3 if depth else 19):
        return draw(VALUES)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at], depth + 1), *value[at + 1 :]]
    key = draw(st.sampled_from(list(value)))
    others = {k: v for k, v in value.items() if k != key}
    match draw(st.sampled_from(["deeper", "deeper", "deeper", "gone", "renamed", "more"])):
        case "gone":
            return others
        case "renamed":
            return {**others, draw(KEYS): value[key]}
        case "more":
            return {**value, draw(KEYS): draw(VALUES)}
    return {**others, key: _changed(draw, value[key], depth + 1)}


def _seldom(draw: Draw, times: int) -> bool:
    """Once in so many and one; Hypothesis prefers 0, which stands for no."""
    seldom: bool = draw(st.integers(0, times)) == times
    return seldom


def _torn(draw: Draw, text: str) -> str:
    """``text`` cut, put together anew, or flooded."""
    at, to = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    match draw(st.sampled_from(["cut", "left out", "twice", "put in", "put in", "flood"])):
        case "cut":
            return text[:to]
        case "left out":
            return text[:at] + text[to:]
        case "twice":
            return text[:to] + text[at:to] + text[to:]
    put: str = draw(st.sampled_from(_INSERTS) | st.text(max_size=9))
    times = draw(st.integers(2, 70_000)) if _seldom(draw, 5) else 1
    return text[:at] + (put * times)[: MOST_CHARS - len(text)] + text[at:]


def keys_of(text: str) -> str:
    """The text and, of one not too long, the keys in it as they read: what an error may echo."""
    if len(text) > MOST_CHARS:
        return text
    try:
        found: list[str] = []
        json.loads(text, object_pairs_hook=lambda pairs: found.extend(str(k) for k, _ in pairs))
    except (ValueError, RecursionError):
        return text
    return text + " ".join(found)
