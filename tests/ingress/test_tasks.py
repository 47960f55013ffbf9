"""The count of tasks: ours, not the world's."""

from __future__ import annotations

import asyncio

from ingress.session.outbox import Outbox
from ingress.tasks import STANDING, under_way


async def test_only_coroutines_of_this_package_are_counted() -> None:
    waits = asyncio.create_task(Outbox(8, 4096, lambda: None).take())
    other = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    assert under_way() == 1
    for task in (waits, other):
        task.cancel()
    await asyncio.gather(waits, other, return_exceptions=True)
    assert under_way() == 0


def test_without_a_loop_there_are_none() -> None:
    assert under_way() == 0


async def test_a_task_that_a_replica_has_all_its_life_is_not_counted() -> None:
    waits = asyncio.create_task(Outbox(8, 4096, lambda: None).take(), name=STANDING)
    await asyncio.sleep(0)
    assert under_way() == 0
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
