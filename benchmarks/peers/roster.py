"""The peers: who they are, and where the programs and the environment of each lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Speaks = Literal["ws-binary", "ws-base64", "http"]

ROOT = Path(__file__).resolve().parents[2]
VENVS = ROOT / "benchmarks" / ".venvs"


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
