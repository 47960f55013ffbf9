"""The count of tasks: those of sessions and calls, not the world's."""

from __future__ import annotations

import asyncio

from ingress.tasks import named, under_way


async def test_named_tasks_are_counted_and_no_others() -> None:
    ours = asyncio.create_task(asyncio.sleep(3600), name=named("reader"))
    other = asyncio.create_task(asyncio.sleep(3600))
    assert under_way() == 1
    for task in (ours, other):
        task.cancel()
    await asyncio.gather(ours, other, return_exceptions=True)
    assert under_way() == 0


def test_without_a_loop_there_are_none() -> None:
    assert under_way() == 0
