"""The object of Serve's that runs this replica, in this process: private, and needed twice.

It alone knows when the replica is to stop, and has the server that HAProxy sends clients to.
"""

from __future__ import annotations

from typing import Any

from ray._private import worker


class ProbeLost(Exception):
    """Serve's internals are not where this Ray's version had them."""


def own_replica() -> Any:
    """The replica's object; raises ProbeLost where it is not to be found."""
    try:
        return worker.global_worker.actors[worker.global_worker.actor_id]._replica_impl
    except (AttributeError, KeyError) as error:
        raise ProbeLost(repr(error)) from error
