"""Ctrl-C, in the order that lets clients hear of it.

Serve's own shutdown kills its proxies first, and every connection with them. So the
applications are deleted while the proxies still stand, as an empty ``serve deploy`` does
it: the ingress replicas drain, then the rest goes. The REST API for that is on the Ray
dashboard, whose port is known to its process alone: 8265, or the next that was free.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import psutil

_DASHBOARD = "ray/dashboard/dashboard.py"
_APPLICATIONS = "api/serve/applications/"
_ANSWER_S = 5.0
_LOOK_EVERY_S = 0.2


def delete_applications(
    family: Iterable[psutil.Process],
    config: Mapping[str, Any],
    patience_s: float,
    token: str | None = None,
) -> bool:
    """Have every application of the cluster drain and go; whether all went in time.

    Args:
        family: the processes of the cluster, the dashboard among them.
        config: what was deployed; its options for the proxies stay as they are.
        patience_s: seconds for all of it.
        token: the cluster's, where it has one.
    """
    deadline = time.monotonic() + patience_s
    empty = json.dumps({**config, "applications": []}).encode()
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    for dashboard in dashboards(family):
        url = dashboard + _APPLICATIONS
        if _answer(url, headers, empty) is None:
            continue
        while time.monotonic() < deadline:
            state = _answer(url, headers)
            if state is not None and not state.get("applications"):
                return True
            time.sleep(_LOOK_EVERY_S)
    return False


def dashboards(family: Iterable[psutil.Process]) -> Iterator[str]:
    """Where the dashboard may listen; it has ports for other things, too."""
    for process in family:
        with suppress(psutil.Error):
            if not any(_DASHBOARD in word for word in process.cmdline()):
                continue
            for connection in process.net_connections("tcp4"):
                if connection.status == psutil.CONN_LISTEN:
                    yield f"http://127.0.0.1:{connection.laddr.port}/"


def _answer(
    url: str, headers: Mapping[str, str], body: bytes | None = None
) -> dict[str, Any] | None:
    """The JSON that a GET, or a PUT of ``body``, is answered with; None where it is not."""
    method = "GET" if body is None else "PUT"
    request = urllib.request.Request(url, body, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as response:
            text = response.read()
        return dict(json.loads(text)) if text else {}
    except (urllib.error.URLError, OSError, ValueError):
        return None
