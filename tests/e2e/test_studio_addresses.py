"""The page and the clients where the application is not at the root of plain HTTP.

One application has all of it at once: a route prefix, TLS, IPv6 where the machine has it, and
before it nginx, which serves it below a path that the application does not know.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from deployments.launch.configuration import ROOT
from tests.certificate import Certificate, self_signed
from tests.e2e.conftest import ASTRONAUT, Visit
from tests.e2e.nginx import nginx
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
STEADY = 10


def host() -> str:
    """All of the machine's addresses, or the one of a machine without IPv6."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return "127.0.0.1"
    return "::"


def open_to_all(args: Any) -> None:
    """It listens where others may reach it, and nobody has to sign in."""
    args["ingress"]["admission"]["auth"] = "none"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def app(certificate: Certificate) -> Iterator[ServeApp]:
    """The application at https://[::1]:PORT/seg/."""
    options = {"host": host(), **certificate.http_options()}
    with serve_app("default", open_to_all, http_options=options, route_prefix="/seg") as app:
        yield app
        assert "Traceback" not in app.log()


@pytest.fixture(scope="module")
def proxied(app: ServeApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the same, below another path of nginx's."""
    with nginx(tmp_path_factory.mktemp("nginx"), app.http) as url:
        yield url


@pytest.fixture
def get(certificate: Certificate) -> Callable[[str], tuple[str, bytes]]:
    """Where a GET ends, and the body there; the certificate is checked."""
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))

    def get(url: str) -> tuple[str, bytes]:
        with urllib.request.urlopen(url, timeout=30, context=trusting) as response:
            return response.url, response.read()

    return get


def see_frames(page: Visit, url: str) -> None:
    """The page streams the sample clip, and asks for nothing elsewhere."""
    page.wait_for_data("state", "live")
    page.wait_for_results(STEADY)
    assert page.console_errors == []
    assert page.hosts == {urlsplit(url).hostname}


def test_the_page_below_a_prefix_and_over_tls(app: ServeApp, visit: Callable[..., Visit]) -> None:
    page = visit(f"{app.http}?source=sample&autostart=1&viz=contour")
    see_frames(page, app.http)
    ARTIFACTS.mkdir(exist_ok=True)
    page.page.screenshot(path=ARTIFACTS / "studio-prefix.png")


def test_the_page_behind_nginx(proxied: str, visit: Callable[..., Visit]) -> None:
    see_frames(visit(f"{proxied}?source=sample&autostart=1"), proxied)


def test_every_interface_is_every_interface(
    app: ServeApp, get: Callable[[str], tuple[str, bytes]]
) -> None:
    _, body = get(f"https://127.0.0.1:{app.port}/seg/health")
    assert json.loads(body)["status"] == "ok"


def test_without_its_last_slash_the_page_is_found_all_the_same(
    app: ServeApp, proxied: str, get: Callable[[str], tuple[str, bytes]]
) -> None:
    for url in (app.http, proxied):
        ended, body = get(f"{url.rstrip('/')}?autostart=1")
        assert ended == f"{url}?autostart=1"
        assert b"SegStream" in body


def test_openapi_is_right_about_the_server_wherever_it_is_read(
    app: ServeApp, proxied: str, get: Callable[[str], tuple[str, bytes]]
) -> None:
    for url in (app.http, proxied):
        ended, body = get(f"{url}openapi.json")
        servers = [urljoin(ended, server["url"]) for server in json.loads(body)["servers"]]
        assert servers == [url]


def test_the_python_client_comes_in_both_ways(
    app: ServeApp, proxied: str, certificate: Certificate
) -> None:
    trusting = {**os.environ, "SSL_CERT_FILE": str(certificate.certificate)}
    for url in (app.ws, f"{proxied.replace('http', 'ws', 1)}ws"):
        command = [sys.executable, "-m", "client", url, "--image", str(ASTRONAUT)]
        done = subprocess.run(
            command, cwd=ROOT, env=trusting, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.startswith("person: person "), done.stderr
