"""The process that is started, ``serve run``, with all that it starts in turn; nothing of it stays.

Its Ctrl-C is ours to give: left to itself Serve kills its proxies first, and no client hears of it
(``deployments.serve.goodbye``).
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
import yaml

from deployments.launch.configuration import ROOT, ingress_of
from deployments.launch.refusal import CannotStart
from deployments.launch.token import token_in
from deployments.serve.goodbye import dashboards, delete_applications

log = logging.getLogger("segstream.launch")

_READY_S = 180.0
_GOODBYE_S = 45.0
_OTHERS_S = 10.0


class Server:
    """``serve run`` and every process that it starts, Ray's included."""

    def __init__(
        self, config: Path, env: Mapping[str, str], output: IO[bytes] | None = None
    ) -> None:
        serve = shutil.which("serve", path=str(Path(sys.executable).parent)) or "serve"
        self._config = config
        self._token = token_in(env)
        # A session of its own: the terminal's Ctrl-C reaches us alone, and everything is
        # stopped in order instead of all of it dying at once.
        self._process = subprocess.Popen(
            [serve, "run", str(config)],
            cwd=ROOT,
            env=dict(env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self._family: set[psutil.Process] = set()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for process in psutil.wait_procs(self._family, timeout=5)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """What Ctrl-C does: the application goes, its clients told, and then Serve."""
        self._note_family()
        if not self.running:
            return
        content = yaml.safe_load(self._config.read_text())
        # A drain takes the grace at most; the other replicas go after the ingress.
        patience_s = ingress_of(self._config).drain.grace_s + _OTHERS_S
        if not delete_applications(self._family, content, patience_s, self._token):
            log.info("the application could not be told to go; its connections are cut")
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            log.warning("it did not stop within %g s and is killed", _GOODBYE_S)
            self._process.kill()
            self._process.wait()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def family(self) -> set[psutil.Process]:
        """Every process below ours that was seen."""
        self._note_family()
        return self._family

    def dashboard(self) -> str | None:
        """The address of the Ray dashboard's page; None where none answers."""
        opener = _opener()
        return next((url for url in dashboards(self.family) if _answers(opener, url)), None)

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
                raise CannotStart(f"it was not ready within {_READY_S:g} s; see the lines above")
            time.sleep(0.25)
        return False

    def _note_family(self) -> None:
        """Remember the processes below ours: their parent may end before they do."""
        with suppress(psutil.NoSuchProcess):
            self._family.update(psutil.Process(self._process.pid).children(recursive=True))


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
