"""What the servers of this cluster listen on: a fact of Serve's, which no application is told.

The controller knows, and every client of Serve's asks it when it connects. Where a new Ray has
moved that, it is not known, and who asks must take the worst for granted.
"""

from __future__ import annotations

import logging
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

log = logging.getLogger("segstream.listening")

_ANSWER_S = 10.0


def listens_on() -> str | None:
    """The ``host`` of ``http_options``; None where it cannot be found out."""
    if not ray.is_initialized():  # Ray would start a cluster to ask it
        return None
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        options: Any = ray.get(controller.get_http_config.remote(), timeout=_ANSWER_S)
        return str(options.host) if options.host else None
    except (ValueError, AttributeError, GetTimeoutError, RayError) as error:
        log.warning("Serve does not say what it listens on (%r)", error)
        return None
