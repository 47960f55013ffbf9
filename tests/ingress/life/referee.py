"""The referee reads the log: whose line it is, and whether a bug in it is one of ours.

The task that logs tells whose line it is. What no connection's task has logged belongs
to no life, but a bug in it counts all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from tests.ingress.life.life import Life


class Planted(Exception):
    """A bug that the test put there."""


class Referee(logging.Handler):
    """Gives each line of the sessions' log to the life that wrote it."""

    def __init__(self, lives: Callable[[], Iterator[Life]]) -> None:
        super().__init__(logging.DEBUG)
        self._lives = lives
        self.foreign: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        task = asyncio.current_task()
        life = next((life for life in self._lives() if life.task is task), None)
        if record.exc_info and record.exc_info[1] is not None:
            self.foreign += [repr(e) for e in _leaves(record.exc_info[1]) if not _planted(e)]
        if life is None:
            return
        if " ended: " in record.getMessage():
            life.ends.append(record)
        if record.exc_info:
            life.tracebacks += 1


def _planted(error: BaseException) -> bool:
    return isinstance(error, Planted)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
