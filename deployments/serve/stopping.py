"""When this replica is told to stop, which Serve tells nobody.

A replica that is redeployed, scaled away or shut down waits for its ongoing
requests, an open WebSocket among them, and is killed at the end of its grace
period: no lifespan event, no cancellation, no method call comes before. The
only sign is a private flag of the replica's own object in this process. Where a
new Ray has moved it, clients lose their connections at the end of the grace
instead of being told, and one warning says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import ray

from deployments.serve.replica import ProbeLost, own_replica

log = logging.getLogger("segstream.stopping")

_LOOK_EVERY_S = 0.1

Look = Callable[[], bool]


def stop_flag() -> Look:
    """A look at this replica's flag; raises ProbeLost where it is not to be found."""
    replica = own_replica()
    try:
        flag = replica._shutting_down
    except AttributeError as error:
        raise ProbeLost(repr(error)) from error
    if not isinstance(flag, bool):
        raise ProbeLost(f"the flag is {flag!r}")
    return lambda: bool(replica._shutting_down)


async def told_to_stop(find: Callable[[], Look] = stop_flag) -> None:
    """Return when this replica is told to stop; never, after one warning, where that is hidden."""
    try:
        look = find()
    except ProbeLost as error:
        log.warning(
            "Ray %s hides when a replica is to stop (%s): clients will lose their connections "
            "without a word in a redeploy", ray.__version__, error,
        )  # fmt: skip
        await asyncio.get_running_loop().create_future()
        return
    while not look():  # noqa: ASYNC110 - there is nothing to wait on
        await asyncio.sleep(_LOOK_EVERY_S)
