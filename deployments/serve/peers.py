"""HAProxy names the peer of each request, in a header of ours.

Behind it every client comes from HAProxy's own address, and Serve's configuration of it says
nothing of theirs. One rule more in its template does, and writes over what a client may have sent
by that name. Serve writes the file anew and reloads HAProxy at every change of replicas, and once
at our word. Where the template is another than we know, the error says so, and addresses stay
unknown.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

_TEMPLATES = "ray.serve._private.haproxy"
_BIND = "    bind {{ config.frontend_host }}:{{ config.frontend_port }}\n"
_NAMING = "    http-request set-header x-segstream-peer %[src]\n"


def name_peers(actor: Any) -> bool:
    """In the process of an HAProxyManager, where ``actor`` is it: whether HAProxy names peers now.

    Raises:
        AttributeError: this Ray configures HAProxy in another way.
    """
    module: Any = importlib.import_module(_TEMPLATES)
    template: str = module.HAPROXY_CONFIG_TEMPLATE
    if _NAMING not in template:
        if template.count(_BIND) != 1:
            raise AttributeError("HAProxy's template has no such frontend")
        module.HAPROXY_CONFIG_TEMPLATE = template.replace(_BIND, _BIND + _NAMING)
        if actor._received_target_groups_broadcast:  # else it will, and write the file for it
            actor.event_loop.call_soon_threadsafe(actor._schedule_haproxy_update)
        return False
    applying = actor._coalesce_task
    if actor._update_pending or not (applying is None or applying.done()):
        return False
    file = Path(actor._haproxy.config_file_path)
    return file.exists() and _NAMING in file.read_text()
