"""Coming back after a session ended, as its close code advises.

Delays are drawn with full jitter (uniform from zero to a cap that doubles from
0.5 s to 30 s), so that clients which lost the same server do not return
together. A new session starts fresh: settings are the caller's to send again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from client.connect import connect
from client.outcomes import Closed, End, NoReply, Refused, Unreachable
from client.stream import Stream
from ingress.disconnects import Advice
from ingress.protocol import ErrorCode

_FIRST_CAP_S, _LAST_CAP_S = 0.5, 30.0
_TRY_AGAIN_LATER, _OVERLOADED_FLOOR_S = 1013, 1.0
_PASSING = frozenset({ErrorCode.OVERLOADED, ErrorCode.RATE_LIMITED})
_HELD_S = 5.0

Uniform = Callable[[float, float], float]


def backoff_s(failures: int, uniform: Uniform = random.uniform) -> float:
    """Seconds to wait after so many failures in a row."""
    return uniform(0.0, min(_LAST_CAP_S, _FIRST_CAP_S * 2 ** min(failures, 16)))


def _at_once(end: End, failures: int, uniform: Uniform) -> float:
    return backoff_s(failures, uniform) if failures else 0.0


def _in_window(end: End, failures: int, uniform: Uniform) -> float:
    first, last = end.retry_ms
    return uniform(first / 1000, last / 1000)


def _jittered(end: End, failures: int, uniform: Uniform) -> float:
    floor = _OVERLOADED_FLOOR_S if end.code == _TRY_AGAIN_LATER else 0.0
    return floor + backoff_s(failures, uniform)


# An advice that is not here is: do not come back by yourself.
_DELAYS: Mapping[Advice, Callable[[End, int, Uniform], float]] = {
    Advice.AT_ONCE: _at_once,
    Advice.IN_WINDOW: _in_window,
    Advice.JITTERED: _jittered,
    Advice.BACK_OFF: _jittered,
}


def delay_s(end: End, failures: int, uniform: Uniform = random.uniform) -> float | None:
    """Seconds until the next attempt, or None where the close code forbids one."""
    delay = _DELAYS.get(end.advice)
    return delay(end, failures, uniform) if delay else None


async def reconnecting(url: str, **options: Any) -> AsyncIterator[Stream]:
    """One session after the other: ``async for stream in reconnecting(url)``.

    Catch ``Closed`` in the loop's body and ``continue``; ``options`` are those of
    ``connect``. Ends after a session that the body closed itself.

    Raises:
        Closed: the server does not want this client back.
        Refused: the server knows this client and did not let it in.
    """
    failures = 0
    while True:
        try:
            held_from = asyncio.get_running_loop().time()
            async with connect(url, **options) as stream:
                yield stream
                end = stream.end
            if end is None:
                return
        except Closed as closed:
            end = closed.end
        except (Unreachable, NoReply, Refused) as error:
            if isinstance(error, Refused) and error.code not in _PASSING:
                raise
            end = End(_TRY_AGAIN_LATER, str(error), (0, 0))
        if asyncio.get_running_loop().time() - held_from > _HELD_S:
            failures = 0
        delay = delay_s(end, failures)
        if delay is None:
            raise Closed(end)
        await asyncio.sleep(delay)
        failures += 1
