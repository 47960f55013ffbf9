"""How many asyncio tasks this package has under way.

A session has three, a call to a model one. A count that stays up when the
connections have gone is a leak.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

# The name of a task that a replica has all its life, and that is therefore not counted.
STANDING = "segstream: standing"

_HERE = str(Path(__file__).parent)


def under_way() -> int:
    """Tasks of the running loop whose coroutine is of this package; 0 without a loop."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return 0
    return sum(_is_ours(task) for task in tasks)


def _is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    ours = code is not None and code.co_filename.startswith(_HERE)
    return ours and task.get_name() != STANDING
