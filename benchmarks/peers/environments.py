"""The peers: who they are, the environment of each, and a run of one from start to end.

Each peer has a virtual environment of its own, ``benchmarks/.venvs/<peer>``, because their
requirements contradict each other's and SegStream's. Into it go the packages of the peer's
``requirements.txt``; then the copies of ``SHARED`` that came along are taken out, and a
``.pth`` file appends the site-packages of the interpreter that runs this. So torch,
openvino, numpy and cv2 are the very same builds in every peer and in SegStream, while
every other package that a peer brings stands before the project's, as its own comes first.

An environment is made once: a stamp holds the hash of all that it was made from. One that
cannot be made is a result too, ``Unavailable`` with pip's reason, and the others go on.

A peer runs in a session of its own. At the end every process it left is killed by its id:
the descendants of the root, and whatever else is in its session, since a process whose
parent has died is a descendant no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import psutil

Speaks = Literal["ws-binary", "ws-base64", "http"]

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / "benchmarks" / ".venvs"
# Module and distribution. From the project alone: the work behind every server is the same.
SHARED = {
    "torch": "torch",
    "openvino": "openvino",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
}
START_DEADLINE_S = 90.0
STOP_DEADLINE_S = 5.0  # for an orderly end, before the kill
INSTALL_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        folder: under ``benchmarks/peers``, with its programs and ``requirements.txt``.
        speaks: ``ws-binary``: JPEG in, PNG mask out. ``http``: the same by POST, with
            content type image/jpeg. ``ws-base64``: JSON both ways, overlay out.
        path: where it takes frames.
        package: the distribution whose version stands for the peer.
        ready_path: answers GET with 200 once the model is loaded; None where the port
            opens no sooner.
    """

    name: str
    title: str
    folder: str
    speaks: Speaks
    path: str
    package: str
    ready_path: str | None = None
    program: str = "server"

    @property
    def module(self) -> str:
        return f"benchmarks.peers.{self.folder}.{self.program}"

    @property
    def requirements(self) -> Path:
        return ROOT / "benchmarks" / "peers" / self.folder / "requirements.txt"

    @property
    def venv(self) -> Path:
        return VENVS / self.folder

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        """What the last run of the peer wrote to stdout and stderr."""
        return self.venv / "server.log"


PEERS: tuple[Peer, ...] = (
    Peer(
        "original",
        "FastAPI, inference in the handler",
        "original",
        "ws-base64",
        "/ws",
        "fastapi",
    ),
    Peer(
        "fastapi_pool",
        "FastAPI and a thread pool",
        "fastapi_pool",
        "ws-binary",
        "/ws",
        "fastapi",
    ),
    Peer(
        "litserve",
        "LitServe",
        "litserve_server",
        "http",
        "/predict",
        "litserve",
        "/health",
    ),
    Peer(
        "litserve_whole",
        "LitServe, all in one hook",
        "litserve_server",
        "http",
        "/predict",
        "litserve",
        "/health",
        program="whole",
    ),
    Peer(
        "bentoml",
        "BentoML",
        "bentoml_server",
        "ws-binary",
        "/ws",
        "bentoml",
        "/readyz",
    ),
    Peer(
        "mosec",
        "Mosec",
        "mosec_server",
        "http",
        "/inference",
        "mosec",
    ),
    Peer(
        "mosec_whole",
        "Mosec, all in one stage",
        "mosec_server",
        "http",
        "/inference",
        "mosec",
        program="whole",
    ),
)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A peer that cannot be installed here, and why."""

    peer: Peer
    reason: str


class PeerFailed(RuntimeError):
    """A peer ended or stayed silent before it could be measured."""


def environment(peer: Peer, tell: Callable[[str], None]) -> Path | Unavailable:
    """The interpreter of the peer's own environment, made if need be.

    ``tell`` hears of each step that takes long.
    """
    stamp = peer.venv / "stamp"
    wanted = _fingerprint(peer)
    if stamp.exists() and stamp.read_text() == wanted:
        return peer.python
    tell(f"{peer.name}: installing {peer.requirements.relative_to(ROOT)}")
    try:
        _install(peer)
    except subprocess.CalledProcessError as error:
        return Unavailable(peer, _last_line(error.stderr or error.stdout or str(error)))
    except subprocess.TimeoutExpired:
        return Unavailable(peer, f"not installed after {INSTALL_DEADLINE_S:.0f} s")
    stamp.write_text(wanted)
    return peer.python


def version(peer: Peer) -> str:
    """The version of ``package`` in the peer's environment, which must have been made."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    return _run(peer.python, "-c", code, peer.package).strip()


@contextmanager
def running(peer: Peer, port: int) -> Iterator[psutil.Process]:
    """The peer on 127.0.0.1, in the environment that ``environment`` made; yields its root.

    Raises:
        PeerFailed: it ended, or did not answer within ``START_DEADLINE_S``.
    """
    # Sockets and files that a killed server leaves behind go with the folder.
    with (
        TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch,
        peer.log.open("wb") as log,
    ):
        started = subprocess.Popen(
            [peer.python, "-m", peer.module, "--port", str(port)],
            cwd=ROOT,
            env={**_clean_environment(), "PYTHONPATH": str(ROOT), "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_ready(peer, port, started)
            yield psutil.Process(started.pid)
        finally:
            _stop(started)


def _fingerprint(peer: Peer) -> str:
    made_from = (peer.requirements.read_text(), sysconfig.get_path("purelib"), sys.version)
    return hashlib.sha256("\0".join(made_from).encode()).hexdigest()


def _install(peer: Peer) -> None:
    # Cleared: with the .pth of an older one in place, pip would count the project's packages in.
    _run(Path(sys.executable), "-m", "venv", "--clear", str(peer.venv))
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(peer.python, *pip, "install", "-r", str(peer.requirements))
    _run(peer.python, *pip, "uninstall", "--yes", *SHARED.values())
    site_packages = Path(_run(peer.python, "-c", _PURELIB).strip())
    project = Path(sysconfig.get_path("purelib"))
    (site_packages / "project.pth").write_text(f"{project}\n")
    _check_shared(peer, project)


_PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"
_ORIGINS = """
import json, sys
from importlib.util import find_spec
specs = {name: find_spec(name) for name in sys.argv[1:]}
print(json.dumps({name: spec and spec.origin for name, spec in specs.items()}))
"""


def _check_shared(peer: Peer, project: Path) -> None:
    """Fail as an installation does where a package of ``SHARED`` is not the project's."""
    found = json.loads(_run(peer.python, "-c", _ORIGINS, *SHARED))
    for module, origin in found.items():
        if origin is None or not Path(origin).is_relative_to(project):
            reason = f"{module} comes from {origin}, not from {project}"
            raise subprocess.CalledProcessError(1, module, stderr=reason)


def _run(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_DEADLINE_S,
        env=_clean_environment(),
    )
    return done.stdout


def _clean_environment() -> dict[str, str]:
    """This process' variables without those that would lead into its own environment."""
    leading = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in leading}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _wait_until_ready(peer: Peer, port: int, started: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not _answers(peer, port):
        if started.poll() is not None:
            raise PeerFailed(f"{peer.name} ended with {started.returncode}: {_tail(peer)}")
        if time.monotonic() > deadline:
            raise PeerFailed(f"{peer.name} was silent for {START_DEADLINE_S:.0f} s: {_tail(peer)}")
        time.sleep(0.2)


def _answers(peer: Peer, port: int) -> bool:
    with suppress(OSError, HTTPException):
        if peer.ready_path is None:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return True
        connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
        try:
            connection.request("GET", peer.ready_path)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False


def _tail(peer: Peer) -> str:
    return _last_line(peer.log.read_text(errors="replace"))


def _stop(started: subprocess.Popen[bytes]) -> None:
    # Collected before the end begins: an orphan can be found by its session alone.
    processes = _family(started.pid)
    with suppress(ProcessLookupError):
        started.terminate()
    psutil.wait_procs(processes, timeout=STOP_DEADLINE_S)
    # Again: a supervisor may have started a process while it was being stopped.
    left = {*processes, *_family(started.pid)}
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=STOP_DEADLINE_S)
    started.wait()


def _family(root_pid: int) -> set[psutil.Process]:
    """The root, its descendants, and the rest of the session that it leads."""
    family = {process for process in psutil.process_iter() if _session(process) == root_pid}
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(root_pid)
        family |= {root, *root.children(recursive=True)}
    return family


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None
