"""A warning that repeats passes once an interval, with the count of those held back."""

from __future__ import annotations

import logging
import threading

import pytest

from deployments.serve.quiet import Quiet


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log:
    """What passes the filter, as it would be read."""

    def __init__(self, clock: Clock, **options: int) -> None:
        self.quiet = Quiet(60.0, spared=frozenset({"segstream.session"}), clock=clock, **options)

    def __call__(
        self,
        msg: object,
        *args: object,
        name: str = "segstream.pools",
        level: int = logging.WARNING,
    ) -> str | None:
        record = logging.LogRecord(name, level, __file__, 1, msg, args, None)
        return record.getMessage() if self.quiet.filter(record) else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log(clock)


def test_the_first_passes_at_once_and_the_next_after_the_interval_with_a_count(
    log: Log, clock: Clock
) -> None:
    assert log("mode %s is away", "person") == "mode person is away"
    for _ in range(41):
        clock.now += 1
        assert log("mode %s is away", "parts") is None
    clock.now += 30
    assert log("mode %s is away", "person") == (
        "mode person is away (repeated 41 times in the last 71 s)"
    )
    assert log("mode %s is away", "person") is None
    clock.now += 60
    assert log("mode %s is away", "person") == (
        "mode person is away (repeated 1 times in the last 60 s)"
    )


def test_one_that_was_not_held_back_since_carries_no_count(log: Log, clock: Clock) -> None:
    log("away")
    clock.now += 60
    assert log("away") == "away"


def test_another_template_or_another_logger_is_another_warning(log: Log) -> None:
    assert log("away") == "away"
    assert log("back") == "back"
    assert log("away", name="segstream.segmenter") == "away"


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR, logging.CRITICAL])
def test_only_warnings_are_held_back(log: Log, level: int) -> None:
    assert [log("again", level=level) for _ in range(3)] == ["again"] * 3


def test_the_end_of_a_session_is_never_held_back(log: Log) -> None:
    lines = [log("session %s ended", n, name="segstream.session") for n in "abc"]
    assert lines == ["session a ended", "session b ended", "session c ended"]


def test_percent_signs_and_named_arguments_survive_the_count(log: Log, clock: Clock) -> None:
    log("50% of %s")
    log("%(mode)s at 5%%", {"mode": "person"})
    assert log("50% of %s") is log("%(mode)s at 5%%", {"mode": "person"}) is None
    clock.now += 60
    assert log("50% of %s") == "50% of %s (repeated 1 times in the last 60 s)"
    assert log("%(mode)s at 5%%", {"mode": "person"}) == (
        "person at 5% (repeated 1 times in the last 60 s)"
    )


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(clock: Clock) -> None:
    log = Log(clock, kinds=3)
    for msg in "abc":
        log(msg)
    assert log("a") is None  # and is the latest now
    log("d")
    assert log("b") == "b", "forgotten, so new"
    assert log("a") is None
    assert log(ValueError("not a text")) == "not a text"


def test_threads_at_once_let_one_through(log: Log) -> None:
    passed: list[str | None] = []

    def warn() -> None:
        passed.extend(log("away") for _ in range(200))

    threads = [threading.Thread(target=warn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line for line in passed if line] == ["away"]
