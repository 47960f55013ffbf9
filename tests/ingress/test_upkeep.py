"""Work that a replica cannot do without begins again, whatever ended it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ingress.upkeep import kept_up
from tests.ingress.turns import settle


class Work:
    """Work that fails so many times, after so long, and then goes on for ever, or is done."""

    def __init__(self, failures: int, *, lasts_s: float = 0.0, returns: bool = False) -> None:
        self.began: list[float] = []
        self.bugs = 0
        self._failures = failures
        self._lasts_s = lasts_s
        self._returns = returns

    async def __call__(self) -> None:
        self.began.append(asyncio.get_running_loop().time())
        if len(self.began) <= self._failures:
            await asyncio.sleep(self._lasts_s)
            raise ZeroDivisionError("planted")
        if not self._returns:
            await asyncio.Event().wait()

    def count(self) -> None:
        self.bugs += 1

    @property
    def pauses(self) -> list[float]:
        gaps = zip(self.began, self.began[1:], strict=False)
        return [round(later - before - self._lasts_s, 3) for before, later in gaps]


async def test_work_that_returns_is_done(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(0, returns=True)
    await kept_up("the work", work, work.count)
    assert (len(work.began), work.bugs, caplog.records) == (1, 0, [])


async def test_an_unforeseen_end_is_told_and_counted_and_the_work_begins_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = Work(1, returns=True)
    await kept_up("the work", work, work.count)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the work ended unforeseen; it begins again in 0.1 s"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert (len(work.began), work.bugs) == (2, 1)


async def test_the_pauses_grow_up_to_a_bound() -> None:
    work = Work(9, returns=True)
    await kept_up("the work", work, work.count)
    assert work.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_work_that_went_on_for_long_has_its_first_pause_again() -> None:
    work = Work(3, lasts_s=11.0, returns=True)
    await kept_up("the work", work, work.count)
    assert work.pauses == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_cancellation_ends_it_without_a_word(
    failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(failures)
    upkeep = asyncio.create_task(kept_up("the work", work, work.count))
    await settle()
    upkeep.cancel()  # at work, or in a pause
    with pytest.raises(asyncio.CancelledError):
        await upkeep
    assert len(caplog.records) == failures
