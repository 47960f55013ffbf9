"""How many asyncio tasks the sessions and calls of this replica have under way.

A session has a reader, a writer, a watch, and in the v1 dialect a hold on its place in the store;
a command that waits, a subscription and a return to a session are tasks as well, and so is each
call to a model. All of them are begun with ``named``: a count that stays up when the connections
have gone is a leak.
"""

from __future__ import annotations

import asyncio

_MARK = "segstream: "


def named(what: str) -> str:
    """The name of a task that is counted, and that a debugger shows."""
    return _MARK + what


def under_way() -> int:
    """Counted tasks of the running loop; 0 without a loop."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return 0
    return sum(task.get_name().startswith(_MARK) for task in tasks)
