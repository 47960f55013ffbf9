"""Which of our files a frame passes: every call that is given it, every return that hands it on.

A frame is known by its encoded picture, from the message that brings it to the call that decodes
it; then by the payload of its result. Whatever holds one of these counts as the frame: the bytes,
a message around them, a value of ours with it inside. A value that is asked about itself goes
nowhere by that.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel

from models.work import FrameResult

ROOT = Path(__file__).parents[2]
_HOUSES = tuple(f"{ROOT}/{house}/" for house in ("ingress", "deployments", "models"))
_DEEP = 6


class Footprints:
    """The files that a frame passed, in order, each stay once."""

    def __init__(self, picture: bytes) -> None:
        self.way_in: list[str] = []
        self.way_out: list[str] = []
        self._picture = picture
        self._payload: bytes | None = None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Watch every thread that begins in the block, and this one."""
        threading.setprofile(self._look)
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _look(self, frame: FrameType, event: str, returned: Any) -> None:
        name = frame.f_code.co_filename
        if event not in ("call", "return") or not name.startswith(_HOUSES):
            return
        given = (value for name, value in frame.f_locals.items() if name != "self")
        values = list(given) if event == "call" else [returned]
        if self._payload is None and (made := _result_in(values)) is not None:
            self._payload = made.payload
        if self._payload is not None and _holds(values, self._payload):
            _step(self.way_out, name)
        elif self._payload is None and _holds(values, self._picture):
            _step(self.way_in, name)


def _step(way: list[str], name: str) -> None:
    file = str(Path(name).relative_to(ROOT))
    if not way or way[-1] != file:
        way.append(file)


def _parts(value: Any) -> list[Any]:
    """What a value of ours is made of; a part that is an object of the house is not opened."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    return []


def _holds(value: Any, mark: bytes, depth: int = _DEEP) -> bool:
    if isinstance(value, bytes | bytearray):
        return mark in value
    return depth > 0 and any(_holds(part, mark, depth - 1) for part in _parts(value))


def _result_in(value: Any, depth: int = _DEEP) -> FrameResult | None:
    if isinstance(value, FrameResult):
        return value
    found = (_result_in(part, depth - 1) for part in _parts(value)) if depth else iter(())
    return next((result for result in found if result is not None), None)
