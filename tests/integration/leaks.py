"""What no message to a peer may show: paths, tracebacks, names from inside the server."""

from __future__ import annotations

import re

_LEAK = re.compile(
    r"Traceback|(?<!\w)/\w|\.py\b|\b(ingress|models|deployments|pydantic|ray)\.|0x[0-9a-f]{6}|\w+Error\b"
)


def leaks(message: str) -> list[str]:
    """The parts of ``message`` that should not be there."""
    return [found.group() for found in _LEAK.finditer(message)]
