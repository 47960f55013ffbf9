"""What the cluster says: all of it into a file, and to the person what concerns a person.

A clean start of Ray, Serve and HAProxy is some eighty lines, and a stop ends in an error that is
none. So the console that ``serve run`` writes is read here. What comes through is

1. every line of our replicas: there, what Serve says below a warning goes to its files alone
   (``deployments.serve.logs``), so these are ours;
2. warnings of Serve's controller, errors of anyone's, and tracebacks, to their last line;
3. what the raylet and the autoscaler say: workers that are killed, resources that are not there.

Once a stop has been asked for, what goes wrong in Ray's own processes is their end: then only the
first rule holds. All lines go to ``console.log`` in the folder of the cluster's logs, which is not
known before the cluster is there; until then they are kept, the last ``_KEPT`` of them.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Lock, Thread
from typing import IO

FILE = "console.log"

_KEPT = 2000
_FILE_BYTES, _FILES = 8 << 20, 3
_LAST_WORDS_S = 5.0

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SPEAKER = re.compile(r"\((?P<who>[A-Za-z][^()]*?)(?: pid=\d+)?(?:, ip=[^)]*)?\) (?P<what>.*)")
_OF_SERVE = re.compile(
    r"(?P<level>[A-Z]+) \d{4}-\d\d-\d\d (?P<time>[\d:]{8}),\d+ (?P<place>\S+ \S+)(?: \S+)?"
    r" -- (?P<said>.*)"
)
_OF_RAY = re.compile(r"(?:\[?\d{4}-\d\d-\d\d [\d:,]+\]?\s+)(?P<level>[A-Z]+)\b")
_TRACEBACK = "Traceback (most recent call last):"
_GRAVE = frozenset({"ERROR", "CRITICAL", "FATAL"})

_REPLICA, _CONTROLLER = "ServeReplica:", "ServeController"
_OF_THE_NODE = ("raylet", "autoscaler", "gcs_server")
# True of every address but 0.0.0.0, and of one node no loss.
_NOISE = "won't accept connections from HAProxy on other nodes"


class Chooser:
    """Which lines a person wants, and how they are shown."""

    def __init__(self) -> None:
        self.stopping = False
        self._follows: dict[
            str, bool
        ] = {}  # by speaker: whether what belongs to its last line does

    def shown(self, line: str) -> str | None:
        """The line for a person; None where it is none for him."""
        line = _COLOUR.sub("", line)
        spoken = _SPEAKER.match(line)
        who, what = (spoken["who"], spoken["what"]) if spoken else ("", line)
        head = _OF_SERVE.match(what) or _OF_RAY.match(what)
        if head:
            wanted = self._wants(who, head["level"], what)
        elif who.startswith(_OF_THE_NODE):
            wanted = not self.stopping
        else:
            opens = what.startswith(_TRACEBACK) and not self.stopping
            wanted = opens or self._follows.get(who, who.startswith(_REPLICA))
        self._follows[who] = wanted
        if not wanted:
            return None
        if head and head.re is _OF_SERVE:
            return f"{head['level']} {head['time']} {head['place']} -- {head['said']}"
        return f"{who}: {what}" if who else what

    def _wants(self, who: str, level: str, what: str) -> bool:
        if who.startswith(_REPLICA):
            return True
        if self.stopping or _NOISE in what:
            return False
        return level in _GRAVE or (level == "WARNING" and who == _CONTROLLER)


class Console:
    """Reads ``stream`` in a thread, until everyone who writes there has ended."""

    def __init__(
        self, stream: IO[bytes], *, verbose: bool, show: Callable[[str], object] | None = None
    ) -> None:
        self._verbose = verbose
        self._show = show or _to_stderr
        self._chooser = Chooser()
        self._kept: deque[str] = deque(maxlen=_KEPT)
        self._file: logging.Handler | None = None
        self._lock = Lock()
        self._reader = Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def write_to(self, folder: Path) -> None:
        """From now on, and what was kept: into the file in ``folder``."""
        file = RotatingFileHandler(folder / FILE, maxBytes=_FILE_BYTES, backupCount=_FILES)
        with self._lock:
            self._file = file
            self._to_file(self._kept)
            self._kept.clear()

    def unheard(self) -> list[str]:
        """The lines that no file has yet."""
        with self._lock:
            return list(self._kept)

    def expect_the_end(self) -> None:
        """A stop was asked for."""
        self._chooser.stopping = True

    def close(self) -> None:
        """Let the last words come, and close the file."""
        self._reader.join(_LAST_WORDS_S)
        with self._lock:
            if self._file:
                self._file.close()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                self._take(raw.decode(errors="replace").rstrip())

    def _take(self, line: str) -> None:
        with self._lock:
            if self._file:
                self._to_file((line,))
            else:
                self._kept.append(line)
        shown = line if self._verbose else self._chooser.shown(line)
        if shown is not None:
            self._show(shown)

    def _to_file(self, lines: Iterable[str]) -> None:
        assert self._file is not None
        for line in lines:
            self._file.emit(logging.LogRecord("", logging.INFO, "", 0, line, None, None))


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
