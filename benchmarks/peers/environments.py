"""The environment of each peer, made once.

Each peer has a virtual environment of its own, ``benchmarks/.venvs/<peer>``, because their
requirements contradict each other's and SegStream's. Into it go the packages of the peer's
``requirements.txt``; then the copies of ``SHARED`` that came along are taken out, and a
``.pth`` file appends the site-packages of the interpreter that runs this. So torch,
openvino, numpy and cv2 are the very same builds in every peer and in SegStream, while
every other package that a peer brings stands before the project's, as its own comes first.

A stamp holds the hash of all that an environment was made from. One that cannot be made is
a result too, ``Unavailable`` with pip's reason, and the others go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.roster import ROOT, Peer

# Module and distribution. From the project alone: the work behind every server is the same.
SHARED = {
    "torch": "torch",
    "openvino": "openvino",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
}
INSTALL_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A peer that cannot be installed here, and why."""

    peer: Peer
    reason: str


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
        return Unavailable(peer, last_line(error.stderr or error.stdout or str(error)))
    except subprocess.TimeoutExpired:
        return Unavailable(peer, f"not installed after {INSTALL_DEADLINE_S:.0f} s")
    stamp.write_text(wanted)
    return peer.python


def version(peer: Peer) -> str:
    """The version of ``package`` in the peer's environment, which must have been made."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    return _run(peer.python, "-c", code, peer.package).strip()


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
        env=clean_environment(),
    )
    return done.stdout


def clean_environment() -> dict[str, str]:
    """This process' variables without those that would lead into its own environment."""
    leading = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in leading}


def last_line(text: str) -> str:
    """What pip or a server said last, which is the reason why it gave up."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
