"""What the tests of the wire share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from ingress.wire.pictures import (
    ClassShare,
    ResultMeta,
)
from ingress.wire.words import BadMessage

U32 = st.integers(0, 2**32 - 1)


U64 = st.integers(0, 2**64 - 1)


META = ResultMeta(
    mode="person",
    width=640,
    height=480,
    media_type="image/png",
    stages_ms={"inference": 3.5},
    batch=2,
    classes=(ClassShare(id=1, label="person", share=0.25),),
)


def attempt(parse: Callable[[Any], Any], sent: Any) -> Any:
    """What ``parse`` makes of it: a value, or the BadMessage; anything else is raised."""
    try:
        return parse(sent)
    except BadMessage as bad:
        return bad
