"""What the server writes down about connections, and whether it adds up.

A ``Books`` is opened before something is done to a client, and closed by
``one``: exactly one disconnect must have been counted and logged meanwhile,
nothing left behind, and no traceback written. ``some`` is the same of several
clients to whom the same was done, so that their deadlines pass together.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ingress.disconnects import DISCONNECTS
from tests.serve_app import ServeApp

PATIENCE_S = 20.0


def wait_until(
    met: Callable[[], bool], what: str | Callable[[], str], patience_s: float = PATIENCE_S
) -> None:
    """Look until ``met``; the condition is in another process, so there is nothing to await."""
    deadline = time.monotonic() + patience_s
    while not met():
        if time.monotonic() > deadline:
            missing = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {patience_s:g} s: {missing}")
        time.sleep(0.05)


class Books:
    """The state of the accounts when nothing was under way."""

    def __init__(self, app: ServeApp) -> None:
        self._app = app
        wait_until(self._settled, "no connection and no task of a session is left")
        self._ends = self._ended()
        self._lines = set(app.ended())
        self._stumbles = self._find_stumbles()

    def one(self, reason: str, *codes: int, bugs: int = 0) -> str:
        """Exactly one connection ended, for ``reason``; returns its log line.

        It has one of ``codes``, and the end cost no traceback where there are no ``bugs``.
        """
        (line,) = self.some(1, reason, *codes, bugs=bugs)
        return line

    def some(self, count: int, reason: str, *codes: int, bugs: int = 0) -> list[str]:
        """Exactly ``count`` connections ended, all as ``one`` has it; returns their log lines."""
        row = DISCONNECTS[reason]
        wait_until(lambda: len(self.lines()) >= count, "a log line of each")
        wait_until(self._settled, "the connections and their tasks have ended")
        ends = self._ended()
        ends.subtract(self._ends)
        assert +ends == {(reason, str(row.initiator)): count}
        lines = self.lines()
        assert len(lines) == count
        for line in lines:
            assert f"ended: {reason} by {row.initiator}," in line
            assert any(f"code {code}," in line for code in codes), line
            assert line.split()[0] == logging.getLevelName(row.level)
        if not bugs:
            self.no_stumble()
        return lines

    def lines(self) -> list[str]:
        """The log lines of sessions that have ended since."""
        return [line for line in self._app.ended() if line not in self._lines]

    def no_stumble(self) -> None:
        """Nothing was logged that speaks of a bug."""
        new = self._find_stumbles().items() - self._stumbles.items()
        assert not new, "\n---\n".join(self._around(*where) for where, _ in new)

    def _settled(self) -> bool:
        """Whether every accepted connection is accounted for, and nothing of one is left."""
        sums: Counter[str] = Counter()
        for sample in self._app.samples():
            sums[sample.name] += int(sample.value)
        balanced = sums["segstream_ws_connections_total"] == sums["segstream_ws_disconnects_total"]
        left = sums["segstream_ws_connections_now"], sums["segstream_tasks"]
        return balanced and left == (0, 0)

    def _ended(self) -> Counter[tuple[str, str]]:
        """Disconnects by reason and initiator."""
        ends: Counter[tuple[str, str]] = Counter()
        for sample in self._app.samples():
            if sample.name == "segstream_ws_disconnects_total":
                ends[sample.labels["reason"], sample.labels["initiator"]] += int(sample.value)
        return ends

    def _find_stumbles(self) -> dict[tuple[Path, int], str]:
        """The lines that speak of a bug, by file and number: log files only grow."""
        return {
            (path, number): line
            for path in self._app.log_files()
            for number, line in enumerate(_lines(path))
            if re.search("Traceback|RuntimeError", line)
        }

    def _around(self, path: Path, number: int) -> str:
        return "\n".join([str(path), *_lines(path)[max(0, number - 4) : number + 25]])


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()
