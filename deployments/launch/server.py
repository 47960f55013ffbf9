"""The process that is started, ``serve run``, with all that it starts in turn; nothing of it stays.

It gets its Ctrl-C from us, once: Serve lets go of the application first, so that clients hear of it
(``deployments.serve.goodbye``), and ends. Ray would take seconds more to end itself, process by
process, and has nothing left to lose: we end it at once.
"""

from __future__ import annotations

import logging
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from deployments.launch.configuration import ROOT, ingress_of
from deployments.launch.refusal import CannotStart

log = logging.getLogger("segstream.launch")

_READY_S = 180.0
_STOP_S = 45.0  # beyond the grace of a replica; Serve's own patience is 30 s
_KILLED_S = 5.0
_LOOK_EVERY_S = 0.2

_LOGS = "--log_dir="
_CONTROLLER = "ray::ServeController"


def _hear_sigint() -> None:
    """Begin as in a terminal: what a shell starts with & ignores SIGINT, and its children do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """``serve run`` and every process that it starts, Ray's included."""

    def __init__(
        self, config: Path, env: Mapping[str, str], output: IO[bytes] | int | None = None
    ) -> None:
        serve = shutil.which("serve", path=str(Path(sys.executable).parent)) or "serve"
        self._config = config
        # A session of its own: the terminal's Ctrl-C reaches us alone.
        self._process = subprocess.Popen(
            [serve, "run", str(config)],
            cwd=ROOT,
            env=dict(env),
            stdout=output,
            stderr=output if output is None else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_hear_sigint,
        )
        self._family: set[psutil.Process] = set()
        self._controllers: set[psutil.Process] = set()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[int]:
        """What Ctrl-C does: the application goes, its clients told, and then everything else.

        Returns the processes that are there all the same.
        """
        if self.running:
            self._let_serve_end()
        for process in self._family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + _KILLED_S
        while (left := [p.pid for p in self._family if _lives(p)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def _let_serve_end(self) -> None:
        self._note_family()
        self._process.send_signal(signal.SIGINT)
        patience_s = ingress_of(self._config).drain.grace_s + _STOP_S
        deadline = time.monotonic() + patience_s
        while self.running and not self._serve_has_ended():
            if time.monotonic() > deadline:
                log.warning("it did not stop within %g s and is killed", patience_s)
                return
            time.sleep(_LOOK_EVERY_S)
            self._note_family()  # HAProxy is started anew in between

    def _serve_has_ended(self) -> bool:
        """Its controller is the last to go; False where there never was one."""
        controllers = [process for process in self._family if _is_controller(process)]
        self._controllers.update(controllers)
        return bool(self._controllers) and not any(map(_lives, self._controllers))

    @property
    def console(self) -> IO[bytes] | None:
        """What it says, where ``output`` was a pipe."""
        return self._process.stdout

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def family(self) -> set[psutil.Process]:
        """Every process below ours that was seen."""
        self._note_family()
        return self._family

    @property
    def logs(self) -> Path | None:
        """The folder of the cluster's logs; None where the cluster is not ours."""
        for process in self.family:
            with suppress(psutil.Error):
                for word in process.cmdline():
                    if word.startswith(_LOGS):
                        return Path(word.removeprefix(_LOGS))
        return None

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def wait_until_ready(self, url: str, asked_to_stop: Sequence[int] = ()) -> bool:
        """Poll ``url``; False where the server ended, or the user gave up, before."""
        opener = _opener()
        deadline = time.monotonic() + _READY_S
        while self.running and not asked_to_stop:
            self._note_family()
            if _answers(opener, url):
                return True
            if time.monotonic() > deadline:
                raise CannotStart(f"it was not ready within {_READY_S:g} s")
            time.sleep(_LOOK_EVERY_S)
        return False

    def _note_family(self) -> None:
        """Remember the processes below ours: their parent may end before they do."""
        with suppress(psutil.NoSuchProcess):
            self._family.update(psutil.Process(self._process.pid).children(recursive=True))


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that only waits to be noticed by its parent does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_controller(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(_CONTROLLER in word for word in process.cmdline())
    return False


def _opener() -> urllib.request.OpenerDirector:
    """For questions to this machine: past every proxy, and of any certificate."""
    # Whom it was issued to concerns clients; that it can be served was seen before the start.
    any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    any_certificate.check_hostname = False
    any_certificate.verify_mode = ssl.CERT_NONE
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=any_certificate)
    )


def _answers(opener: urllib.request.OpenerDirector, url: str) -> bool:
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
