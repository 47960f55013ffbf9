"""When to come back after a connection ended, as its close code advises.

Delays are drawn with full jitter (uniform from zero to a cap that doubles from
0.5 s to 30 s), so that clients which lost the same server do not return
together. A server that is restarting spreads them itself, by the window in its
``bye``: that holds for the first attempt. web/reconnect.js is the same table.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from client.outcomes import End
from ingress.disconnects import Advice

HELD_S = 5.0
"""A connection that held this long clears the count of failures."""

_FIRST_CAP_S, _LAST_CAP_S = 0.5, 30.0
_TRY_AGAIN_LATER, _OVERLOADED_FLOOR_S = 1013, 1.0

Uniform = Callable[[float, float], float]


def backoff_s(failures: int, uniform: Uniform = random.uniform) -> float:
    """Seconds to wait after so many failures in a row."""
    return uniform(0.0, min(_LAST_CAP_S, _FIRST_CAP_S * 2 ** min(failures, 16)))


def _at_once(end: End, failures: int, uniform: Uniform) -> float:
    return backoff_s(failures, uniform) if failures else 0.0


def _in_window(end: End, failures: int, uniform: Uniform) -> float:
    if failures:
        return backoff_s(failures, uniform)
    first, last = end.retry_ms
    return uniform(first / 1000, last / 1000)


def _jittered(end: End, failures: int, uniform: Uniform) -> float:
    floor = _OVERLOADED_FLOOR_S if end.code == _TRY_AGAIN_LATER else 0.0
    return floor + backoff_s(failures, uniform)


# An advice that is not here is: do not come back by yourself.
_DELAYS: Mapping[Advice, Callable[[End, int, Uniform], float]] = {
    Advice.AT_ONCE: _at_once,
    Advice.WITH_NEW_TOKEN: _at_once,  # with the old one the server says so, and that is the end
    Advice.IN_WINDOW: _in_window,
    Advice.JITTERED: _jittered,
    Advice.BACK_OFF: _jittered,
}


def delay_s(end: End, failures: int, uniform: Uniform = random.uniform) -> float | None:
    """Seconds until the next attempt, or None where the close code forbids one.

    ``failures`` counts the attempts since the last connection that held.
    """
    delay = _DELAYS.get(end.advice)
    return delay(end, failures, uniform) if delay else None
