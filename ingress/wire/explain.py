"""A validation failure as one sentence for the person who sent the value.

pydantic knows where a value was wrong and what was allowed; a peer should read
that in words, see the nearest known key where one was mistyped, and never see
our class names. What the peer sent is not echoed beyond the name of a key, which
is cut before it is compared; complaints past the first few are only counted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from pydantic import BaseModel, ValidationError

_SHOWN = 3
_KEY_CHARS = 60
_SCALARS = frozenset({"int", "float", "str"})
# Where pydantic's own words would echo the value or name one of our classes.
_WORDS = {
    "missing": "required and missing",
    "model_type": "input should be an object",
    "union_tag_invalid": "type: unknown type",
    "union_tag_not_found": "type: required and missing",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean "x"?)`` for the closest of ``known``, or nothing."""
    close = difflib.get_close_matches(name[:_KEY_CHARS], list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """``error`` in words; ``model``, where given, supplies the keys that are known.

    Several complaints about one place are the branches of a union: any of them would do.
    """
    said: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=True):
        place = _place(problem["type"], problem["loc"])
        words = said.setdefault(place, [])
        if len(said) <= _SHOWN:
            words.append(_complaint(problem["type"], problem["loc"], problem["msg"], model))
    shown = [_sentence(place, words) for place, words in islice(said.items(), _SHOWN)]
    more = len(said) - _SHOWN
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _sentence(place: str, complaints: list[str]) -> str:
    text = ", or ".join(dict.fromkeys(complaints))
    return f"{place}: {text}" if place else text


def _place(kind: str, loc: tuple[int | str, ...]) -> str:
    """The path to the value, in keys; the last part of an unknown key's path is that key."""
    keys = [part for part in loc[:-1] if not _names_a_type(part)]
    if loc and (kind == "extra_forbidden" or not _names_a_type(loc[-1])):
        keys.append(loc[-1])
    return ".".join(str(part)[:_KEY_CHARS] for part in keys)


def _complaint(
    kind: str, loc: tuple[int | str, ...], message: str, model: type[BaseModel] | None
) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "json_invalid":
        return f"not JSON: {message.removeprefix('Invalid JSON: ')}"
    if kind == "extra_forbidden":
        known = known_keys(model, loc)
        hint = nearest(str(loc[-1]), known)
        return "unknown key" + (
            hint or (f"; known are {', '.join(sorted(known))}" if known else "")
        )
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _names_a_type(part: int | str) -> bool:
    """True where ``part`` is pydantic's name for a branch of a union, not a key."""
    return isinstance(part, str) and (part in _SCALARS or "constrained" in part or "[" in part)


def known_keys(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> set[str]:
    """The keys allowed where ``loc`` ends, following nested models from ``model``."""
    for part in loc[:-1]:
        if model is None:
            return set()
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_in(field.annotation) if field else None
    return set(model.model_fields) if model else set()


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation holds, looking into ``list[X]`` and ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(a) for a in getattr(annotation, "__args__", ()))
    return next((m for m in inner if m is not None), None)
