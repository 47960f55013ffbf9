"""The token that the command line signs in with: never an argument, which every user can read.

A file that ``--token-file`` names, else the variable ``SEGSTREAM_TOKEN``, else the file that
``SEGSTREAM_TOKEN_FILE`` names, else none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

Token: TypeAlias = str | Callable[[], str | None] | None
"""A token, or what is asked for one before each connection: tokens that expire are renewed so."""

VARIABLE, FILE_VARIABLE = "SEGSTREAM_TOKEN", "SEGSTREAM_TOKEN_FILE"


def given(token: Token) -> str | None:
    """The token for the next connection."""
    return token() if callable(token) else token


def found(file: Path | None, environ: Mapping[str, str] = os.environ) -> Token:
    """Where the token of the command line is; a file is read before each connection.

    Raises:
        OSError: the file cannot be read.
    """
    if file is None and environ.get(VARIABLE):
        return environ[VARIABLE]
    path = file or (Path(named) if (named := environ.get(FILE_VARIABLE)) else None)
    if path is None:
        return None
    path.read_text()  # now, so that a wrong name is told before anything is opened
    return lambda: path.read_text().strip()
