"""Where Ray's dashboard is: its port, 8265 or the next that was free, is known to it alone.

Its process listens on other ports too, for its metrics; the page is the one that answers in HTML.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

_PROGRAM = "ray/dashboard/dashboard.py"
_ANSWER_S = 2.0


def dashboard_of(family: Iterable[psutil.Process]) -> str | None:
    """The address of the page, for a browser on this machine; None where there is none."""
    return next((url for url in _listening(family) if _is_page(url)), None)


def _listening(family: Iterable[psutil.Process]) -> Iterator[str]:
    for process in family:
        with suppress(psutil.Error):
            if not any(_PROGRAM in word for word in process.cmdline()):
                continue
            for connection in process.net_connections("tcp4"):
                if connection.status == psutil.CONN_LISTEN:
                    yield f"http://127.0.0.1:{connection.laddr.port}/"


def _is_page(url: str) -> bool:
    past_every_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        suppress(urllib.error.URLError, OSError),
        past_every_proxy.open(url, timeout=_ANSWER_S) as answer,
    ):
        return bool(answer.headers.get_content_type() == "text/html")
    return False
