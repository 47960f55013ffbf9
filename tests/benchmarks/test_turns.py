"""The longest turn of the loop is that of who holds it longest."""

from __future__ import annotations

import asyncio
import time

from benchmarks.turns import LIMITS, longest_turn_ms, works


async def test_the_longest_turn_is_measured() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        time.sleep(0.03)  # noqa: ASYNC251
        await asyncio.sleep(0)

    assert 30 <= await longest_turn_ms(work) < 3000


async def test_the_largest_frame_and_result_are_measured() -> None:
    message = await works()["a result of max_result_bytes"]()
    assert isinstance(message, str)
    assert len(message) > LIMITS.max_result_bytes * 4 // 3
