"""The longest turn of the loop while a plain client's largest frame is read, or result written.

python -m benchmarks.turns        milliseconds, the median and the worst of 25
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import Awaitable, Callable

from ingress.settings import SessionLimits
from ingress.wire.heard import heard
from ingress.wire.pictures import PlainResult
from ingress.wire.said import encoded
from ingress.wire.words import BadMessage, Dialect

_RUNS = 25
LIMITS = SessionLimits()

Work = Callable[[], Awaitable[object]]


async def longest_turn_ms(work: Work) -> float:
    """The longest time for which ``work`` let nobody else run."""
    longest, doing = 0.0, asyncio.ensure_future(work())
    while not doing.done():
        begun = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - begun)
    return 1e3 * longest


def frame(data: str) -> Work:
    """Reading a plain frame with ``data`` in it."""
    text = json.dumps({"type": "frame", "data": data}, ensure_ascii=False)

    async def read() -> None:
        try:
            await heard(text, Dialect.PLAIN, LIMITS)
        except BadMessage:
            return

    return read


def works() -> dict[str, Work]:
    """What is measured, by its name."""
    room = LIMITS.plain_message_bytes - 100
    picture, payload = bytes(LIMITS.max_frame_bytes), bytes(LIMITS.max_result_bytes)
    return {
        "a frame of max_frame_bytes": frame(base64.b64encode(picture).decode()),
        "as many escapes as are taken": frame("\n" * (room // 20) + "A" * (room - room // 10)),
        "escapes alone": frame("\n" * (room // 2)),
        "text beyond ASCII": frame("\u6f22" * room),
        "a result of max_result_bytes": lambda: encoded(PlainResult(1, payload, {})),
    }


async def main() -> None:
    print("| plain | ms, median | at worst |\n|---|---|---|")
    for name, work in works().items():
        turns = [await longest_turn_ms(work) for _ in range(_RUNS)]
        print(f"| {name} | {statistics.median(turns):.1f} | {max(turns):.1f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
