"""Serve's own shutdown, in the order that lets clients hear of it.

Ctrl-C on ``serve run`` and ``serve shutdown`` have the controller delete its deployments and kill
its proxies in one breath, and every connection dies with the proxies: 1006, and no goodbye. So the
controller is asked to

1. keep the proxies until the deployments have gone: the ingress replicas drain as in a redeploy,
   and what is killed then has no client any more;
2. answer whoever asked for the shutdown before it kills itself: Serve leaves him to learn it from
   an actor that died, and Ray logs that as an error, the last line of every clean stop.
"""

from __future__ import annotations

import time
from typing import Any

CONTROLLER = "ServeController"

# Beyond the time that replicas are given: the controller looks once in a while only.
_MORE_S = 10.0


def keep_proxies_to_the_last(grace_s: float, controller: Any) -> bool:
    """In the controller's process, where ``controller`` is it.

    Its shutdown is a step that it repeats until everything has gone. ``grace_s`` is what a replica
    has to stop in; a little later proxies are killed whatever there still is.

    Raises:
        AttributeError: this Ray's controller is another.
    """
    proxies = controller.proxy_state_manager
    if proxies is None:  # a cluster that serves no HTTP
        return True
    # What was put there before, by another replica, is replaced.
    kill, have_ended = getattr(
        proxies, "segstream", (proxies.shutdown, proxies.is_ready_for_shutdown)
    )
    have_gone, answer = (
        controller.deployment_state_manager.is_ready_for_shutdown,
        controller._shutdown_event,
    )
    began: float | None = None

    def shutdown() -> None:
        nonlocal began
        began = time.monotonic() if began is None else began
        if have_gone() or time.monotonic() > began + grace_s + _MORE_S:
            kill()

    def is_ready_for_shutdown() -> bool:
        if not have_ended():
            return False
        answered = bool(answer.is_set())
        answer.set()  # the controller kills itself when all is ready: in the next step
        return answered

    proxies.segstream = (kill, have_ended)
    proxies.shutdown, proxies.is_ready_for_shutdown = shutdown, is_ready_for_shutdown
    return True
