"""The token of one cluster: the lock on Ray's own ports.

The GCS, the raylet, workers and agents listen on every interface, whatever address they are told,
and whoever may speak to them runs code here. Ray's token authentication (its default for a local
cluster) refuses who does not bring the token. Each start gets one of its own, in a file that only
its user can read: the one that Ray would write below the user's home is for all clusters, and a
later ``ray start`` picks it up.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

_MODE, _TOKEN, _PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def variables_of(folder: Path) -> dict[str, str]:
    """Write a new token in ``folder``; what Ray is told of it."""
    path = folder / "token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return {_MODE: "token", _PATH: str(path)}


def token_in(environment: Mapping[str, str]) -> str | None:
    """The token of the cluster that starts with this environment; None where it has no lock."""
    if environment.get(_MODE) != "token":
        return None
    if given := environment.get(_TOKEN):
        return given
    return Path(environment[_PATH]).expanduser().read_text().strip()


def file_in(environment: Mapping[str, str]) -> str | None:
    """Where that token lies, for the person who wants it."""
    locked = environment.get(_MODE) == "token" and _TOKEN not in environment
    return environment.get(_PATH) if locked else None
