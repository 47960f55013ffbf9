"""Counting down a batch: order, failures in place, one delivery, no waiting."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from models.batch import Batch
from models.pictures.limits import FrameRejected
from models.work import FrameFailure, FrameOutcome, FrameResult


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def result(width: int) -> FrameResult:
    return FrameResult(b"", "", width, 1, (), b"", {})


def widths(outcomes: list[FrameOutcome]) -> list[int | str]:
    return [o.width if isinstance(o, FrameResult) else o.code for o in outcomes]


def test_outcomes_keep_the_order_of_the_items() -> None:
    second_done = Event()

    def step(width: int) -> FrameResult:
        if width == 1:
            assert second_done.wait(10)
        if width == 2:
            second_done.set()
        return result(width)

    with ThreadPoolExecutor(2) as two:
        batch = Batch(two)
        batch.fan_out([1, 2], step, batch.deliver)
        assert widths(batch.future.result(10)) == [1, 2]


def test_steps_behind_one_another_need_a_single_worker(worker: ThreadPoolExecutor) -> None:
    batch = Batch(worker)

    def render_all(doubled: list[int | FrameFailure]) -> None:
        batch.fan_out(doubled, result, batch.deliver)

    batch.fan_out([1, 2, 3], lambda n: 2 * n, render_all)
    assert widths(batch.future.result(10)) == [2, 4, 6]


def test_a_rejection_keeps_its_message_and_skips_the_next_step(worker: ThreadPoolExecutor) -> None:
    batch = Batch(worker)

    def refuse_two(number: int) -> int:
        if number == 2:
            raise FrameRejected("two is too many")
        return number

    batch.fan_out([1, 2, 3], refuse_two, lambda n: batch.fan_out(n, result, batch.deliver))
    outcomes = batch.future.result(10)
    assert widths(outcomes) == [1, "FRAME_REJECTED", 3]
    rejected = outcomes[1]
    assert isinstance(rejected, FrameFailure)
    assert (rejected.code, rejected.message) == ("FRAME_REJECTED", "two is too many")
    assert rejected.took_ms > 0


def test_any_other_exception_is_logged_once_and_tells_the_peer_nothing(
    worker: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    batch = Batch(worker)

    def broken(_: int) -> FrameResult:
        raise RuntimeError("device 0 lost at /opt/weights")

    batch.fan_out([1], broken, batch.deliver)
    (failure,) = batch.future.result(10)
    assert isinstance(failure, FrameFailure)
    assert failure.code == "INFERENCE_FAILED"
    assert "/opt" not in failure.message
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


def test_no_items_are_delivered_at_once(worker: ThreadPoolExecutor) -> None:
    batch = Batch(worker)
    batch.fan_out([], result, batch.deliver)
    assert batch.future.result(0) == []


def test_a_cancelled_batch_begins_no_further_item(worker: ThreadPoolExecutor) -> None:
    begun: list[int] = []
    started, go_on = Event(), Event()

    def step(number: int) -> FrameResult:
        begun.append(number)
        started.set()
        assert go_on.wait(10)
        return result(number)

    batch = Batch(worker)
    batch.fan_out([1, 2, 3], step, batch.deliver)
    assert started.wait(10)
    assert batch.future.cancel()
    go_on.set()
    worker.shutdown()
    assert begun == [1]
