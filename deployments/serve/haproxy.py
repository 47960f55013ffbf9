"""What HAProxy is told beside what Serve tells it, where Serve writes its configuration.

Two things are taken away and one is added. Serve has HAProxy show its statistics on a port of every
interface, and its metrics on another, to whoever asks. Nobody here does: Serve itself asks by
HAProxy's socket in the file system. They are not moved to loopback: while HAProxy is replaced by
its successor, the old one still holds the port on every interface, and taking part of it away from
there can cost the listener that both share. What is added is the peer of each request, in a header
of ours that is written over whatever a client has sent by that name: behind HAProxy every client
comes from its address, and Serve says nothing of theirs.

Serve writes the configuration from a template, again at every change of replicas; so the manager's
template is changed where it is, and the configuration written once more. It stands when HAProxy
has been reloaded with it.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

MANAGER = "HAProxyManager"

_MODULE, _TEMPLATE = "ray.serve._private.haproxy", "HAPROXY_CONFIG_TEMPLATE"
_SECTIONS = ("frontend prometheus", "listen stats")
_BIND = "    bind {{ config.frontend_host }}:{{ config.frontend_port }}\n"
_NAMING = "    http-request set-header x-segstream-peer %[src]\n"


def configure(manager: Any) -> bool:
    """In the process of the ``manager``; whether HAProxy runs with it. The same twice is once.

    Raises:
        AttributeError: this Ray's HAProxy is told otherwise.
    """
    module: Any = sys.modules[_MODULE]
    template = getattr(module, _TEMPLATE)
    reload, loop = manager._reload_haproxy, manager.event_loop
    if getattr(module, "segstream", None) is template:
        written = module.segstream_written
        if not written.done() or written.exception() is None:
            return bool(written.done())
    else:
        template = _changed(template)
        setattr(module, _TEMPLATE, template)
        module.segstream = template
    module.segstream_written = asyncio.run_coroutine_threadsafe(reload(), loop)
    return False


def _changed(template: str) -> str:
    for section in _SECTIONS:
        template, found = re.subn(rf"^{section}\n([ \t].*\n)*", "", template, flags=re.MULTILINE)
        if found != 1:
            raise AttributeError(f"its template has no {section!r}")
    if template.count(_BIND) != 1:
        raise AttributeError(f"its template has no {_BIND.strip()!r}")
    return template.replace(_BIND, _BIND + _NAMING)
