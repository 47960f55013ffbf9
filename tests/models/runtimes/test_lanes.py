"""Who gets a lane next. A thread is known to wait once it stands in the queue."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest

from models.runtimes.lanes import Lanes

PATIENCE_S = 10


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would end the test run."""


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def wait_for_queue(lanes: Lanes[str], length: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(lanes._queue) != length:
        assert time.monotonic() < deadline, f"{len(lanes._queue)} wait, not {length}"
        time.sleep(0.001)


def free(lanes: Lanes[str], count: int) -> list[str]:
    """The names of ``count`` lanes, taken one after another; sees that nobody waits."""
    assert not lanes._queue
    names = []
    for _ in range(count):
        with lanes.taken() as lane:
            names.append(lane)
    return names


def test_threads_are_served_in_the_order_in_which_they_came(threads: ThreadPoolExecutor) -> None:
    lanes, served = Lanes(["only"]), list[int]()

    def call(number: int) -> None:
        with lanes.taken():
            served.append(number)

    with lanes.taken():
        for number in range(8):
            threads.submit(call, number)
            wait_for_queue(lanes, number + 1)
    threads.shutdown()
    assert served == list(range(8))


def test_who_gives_back_and_takes_again_goes_behind_those_who_waited(
    threads: ThreadPoolExecutor,
) -> None:
    lanes, served = Lanes(["only"]), list[str]()

    def call() -> None:
        with lanes.taken():
            served.append("waited")

    for _ in range(100):
        with lanes.taken():
            waiting = threads.submit(call)
            wait_for_queue(lanes, 1)
        with lanes.taken():
            served.append("came again")
        waiting.result(PATIENCE_S)
    assert served == ["waited", "came again"] * 100


def test_threads_that_call_without_a_pause_take_turns(threads: ThreadPoolExecutor) -> None:
    lanes, served, rounds = Lanes(["only"]), list[int](), 25

    def call_on_and_on(number: int) -> None:
        for _ in range(rounds):
            with lanes.taken():
                served.append(number)
                if len(served) <= 4 * (rounds - 1):  # until then, all four have a call to come
                    wait_for_queue(lanes, 3)

    calls = [threads.submit(call_on_and_on, number) for number in range(4)]
    for call in calls:
        call.result(PATIENCE_S)
    assert sorted(served[:4]) == [0, 1, 2, 3]
    assert served == served[:4] * rounds


def test_no_lane_is_lent_twice(threads: ThreadPoolExecutor) -> None:
    lanes, lent = Lanes(["left", "right"]), {"left": threading.Lock(), "right": threading.Lock()}

    def call(_: int) -> None:
        with lanes.taken() as lane:
            assert lent[lane].acquire(blocking=False)
            time.sleep(0)  # lets another thread in
            lent[lane].release()

    assert len(list(threads.map(call, range(500)))) == 500
    assert sorted(free(lanes, 2)) == ["left", "right"]


def test_free_lanes_take_turns() -> None:
    assert free(Lanes(["a", "b", "c"]), 7) == ["a", "b", "c", "a", "b", "c", "a"]


def test_a_lane_comes_back_from_a_call_that_failed(threads: ThreadPoolExecutor) -> None:
    lanes = Lanes(["only"])

    def fail() -> None:
        with lanes.taken():
            wait_for_queue(lanes, 1)
            raise RuntimeError("the device has fallen off the bus")

    def call() -> str:
        with lanes.taken() as lane:
            return lane

    failing = threads.submit(fail)
    while lanes._free:
        time.sleep(0.001)
    assert threads.submit(call).result(PATIENCE_S) == "only"
    with pytest.raises(RuntimeError, match="fallen off"):
        failing.result(PATIENCE_S)


Interrupt = Callable[[Lanes[str], Callable[[], None]], None]


@pytest.fixture
def interrupt(threads: ThreadPoolExecutor) -> Iterator[Interrupt]:
    """Takes a lane here, where another thread has it; a signal does as told and ends the wait."""
    before = signal.getsignal(signal.SIGUSR1)

    def interrupted(lanes: Lanes[str], meanwhile: Callable[[], None]) -> None:
        def handle(_: int, __: FrameType | None) -> None:
            meanwhile()
            raise Interrupted

        def send() -> None:
            wait_for_queue(lanes, 1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, handle)
        sender = threads.submit(send)
        with pytest.raises(Interrupted), lanes.taken():
            pytest.fail("there was no lane to have")
        sender.result(PATIENCE_S)

    yield interrupted
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def holder(threads: ThreadPoolExecutor) -> Iterator[tuple[Lanes[str], Callable[[], None]]]:
    """The one lane, in another thread's hand, and what makes that thread give it back."""
    lanes, held, done = Lanes(["only"]), threading.Event(), threading.Event()

    def hold() -> None:
        with lanes.taken():
            held.set()
            assert done.wait(PATIENCE_S)

    holding = threads.submit(hold)
    assert held.wait(PATIENCE_S)

    def give_back() -> None:
        done.set()
        holding.result(PATIENCE_S)

    yield lanes, give_back
    give_back()


def test_a_thread_that_is_interrupted_as_it_waits_leaves_the_queue(
    holder: tuple[Lanes[str], Callable[[], None]], interrupt: Interrupt
) -> None:
    lanes, give_back = holder
    interrupt(lanes, lambda: None)
    give_back()
    assert free(lanes, 2) == ["only", "only"]


def test_a_lane_given_to_a_thread_that_is_interrupted_goes_on_to_the_next(
    holder: tuple[Lanes[str], Callable[[], None]],
    interrupt: Interrupt,
    threads: ThreadPoolExecutor,
) -> None:
    lanes, give_back = holder
    behind: list[str] = []

    def call() -> None:
        with lanes.taken() as lane:
            behind.append(lane)

    def let_another_queue_and_give_back() -> None:
        threads.submit(call)
        wait_for_queue(lanes, 2)
        give_back()
        wait_for_queue(lanes, 1)
        assert not behind, "the lane is with the thread that waits here"

    interrupt(lanes, let_another_queue_and_give_back)
    threads.shutdown()
    assert behind == ["only"]
    assert free(lanes, 1) == ["only"]
