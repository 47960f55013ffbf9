"""What HAProxy opens beside the address of the configuration, switched off.

Serve has it show its statistics on a port of every interface, and its metrics on another, to
whoever asks. Nobody here does: Serve itself asks by HAProxy's socket in the file system. Serve
writes HAProxy's configuration from a template, again at every change of replicas; so the two
sections are taken out of the manager's template where it is, and the configuration written once
more. They are not moved to loopback: while HAProxy is replaced by its successor, the old one still
holds the port on every interface, and taking part of it away from there can cost the listener that
both share.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

MANAGER = "HAProxyManager"

_MODULE, _TEMPLATE = "ray.serve._private.haproxy", "HAPROXY_CONFIG_TEMPLATE"
_SECTIONS = ("frontend prometheus", "listen stats")


def close_statistics(manager: Any) -> bool:
    """In the process of the ``manager``; the same twice is once.

    Raises:
        AttributeError: this Ray's HAProxy is told otherwise.
    """
    module = sys.modules[_MODULE]
    template = getattr(module, _TEMPLATE)
    if getattr(module, "segstream", None) is template:
        return True
    reload, loop = manager._reload_haproxy, manager.event_loop
    for section in _SECTIONS:
        template, found = re.subn(rf"^{section}\n([ \t].*\n)*", "", template, flags=re.MULTILINE)
        if found != 1:
            raise AttributeError(f"its template has no {section!r}")
    setattr(module, _TEMPLATE, template)
    module.segstream = template  # type: ignore[attr-defined]
    asyncio.run_coroutine_threadsafe(reload(), loop)
    return True
