"""The probe that says when to drain: it is patient, and says once where Ray hides the word."""

from __future__ import annotations

import asyncio
import logging

import pytest

from deployments.serve.replica import ProbeLost
from deployments.serve.stopping import Look, stop_flag, told_to_stop


async def test_it_returns_when_the_flag_is_set_and_not_before() -> None:
    told: list[bool] = []
    waiting = asyncio.create_task(told_to_stop(lambda: lambda: bool(told)))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    told.append(True)
    async with asyncio.timeout(5):
        await waiting


async def test_where_the_flag_is_hidden_one_warning_says_so_and_nothing_is_drained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def hidden() -> Look:
        raise ProbeLost("moved")

    caplog.set_level(logging.WARNING)
    waiting = asyncio.create_task(told_to_stop(hidden))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    (record,) = caplog.records
    assert "hides when a replica is to stop (moved)" in record.getMessage()


def test_outside_a_replica_there_is_no_flag() -> None:
    with pytest.raises(ProbeLost):
        stop_flag()
