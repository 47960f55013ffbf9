"""Which pages a real browser may connect, and how the studio signs in.

``front.example`` is this machine by another name, as in the browser's flags.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.launch.configuration import ROOT
from deployments.manners import HEADERS
from tests.e2e.conftest import ASTRONAUT, Visit
from tests.e2e.front import front
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
TOKEN = "a token of thirty letters or so".replace(" ", "-")
STRANGER = "front.example"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with front() as port:
        yield port


@pytest.fixture(scope="module")
def app() -> Iterator[ServeApp]:
    """The application as it is configured for a laptop."""
    with serve_app("default") as app:
        yield app
        assert "Traceback" not in app.log()


@pytest.fixture(scope="module")
def guarded(port: int) -> Iterator[ServeApp]:
    """Where one front end more may come in, and everybody signs in."""

    def guard(args: Any) -> None:
        args["ingress"]["admission"] |= {
            "allowed_origins": [f"http://{STRANGER}:{port}"],
            "auth": "tokens",
            "tokens": [{"principal": "ada", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}],
            "operator_token_sha256": hashlib.sha256(b"operator").hexdigest(),
        }

    with serve_app("default", guard) as app:
        yield app
        log = app.log()
        assert "Traceback" not in log
        assert TOKEN not in log


def title(visit: Visit, words: str) -> None:
    visit.page.wait_for_function("words => document.title === words", arg=words)


def rejected(app: ServeApp, reason: str) -> float:
    return app.metric("segstream_ws_handshakes_rejected_total", reason=reason)


# ------------------------------------------------------------------ without a line of yaml


def test_the_studio_connects(app: ServeApp, visit: Callable[..., Visit]) -> None:
    page = visit(f"{app.http}?source=sample&autostart=1")
    page.wait_for_data("state", "live")
    page.wait_for_results(5)
    assert page.console_errors == []
    assert page.page.evaluate("() => document.getElementById('sign-in').open") is False


def test_the_original_front_end_of_another_port_works_as_it_is(
    app: ServeApp, port: int, visit: Callable[..., Visit]
) -> None:
    for name in ("localhost", "127.0.0.1"):
        title(visit(f"http://{name}:{port}/?server={app.ws}"), "segmented")


def test_a_page_of_another_host_cannot_connect(
    app: ServeApp, port: int, visit: Callable[..., Visit]
) -> None:
    before = rejected(app, "origin")
    title(visit(f"http://{STRANGER}:{port}/?server={app.ws}"), "closed 1006")
    assert rejected(app, "origin") == before + 1
    line = f'ingress.admission.allowed_origins: ["http://{STRANGER}:{port}"] would let it in'
    assert line in app.said()


def test_it_is_refused_with_the_line_that_would_let_it_in(app: ServeApp, port: int) -> None:
    request = urllib.request.Request(f"{app.http}api/segment", data=b"x", method="POST")
    request.add_header("origin", f"http://{STRANGER}:{port}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403
    message = json.loads(refused.value.read())["error"]["message"]
    assert f'ingress.admission.allowed_origins: ["http://{STRANGER}:{port}"]' in message


def test_a_name_that_was_made_to_point_here_is_not_answered(
    app: ServeApp, port: int, visit: Callable[..., Visit]
) -> None:
    before = rejected(app, "host")
    rebound = f"ws://{STRANGER}:{app.port}/ws"
    title(visit(f"http://localhost:{port}/?server={rebound}"), "closed 1006")
    assert rejected(app, "host") == before + 1
    page = visit(f"http://{STRANGER}:{app.port}/")
    assert "this server is not asked by that name" in page.page.content()


def test_the_page_comes_with_its_headers(app: ServeApp) -> None:
    for path in ("", "web/studio.js"):
        with urllib.request.urlopen(app.http + path, timeout=30) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
        assert found.items() >= HEADERS.items()
        assert found["cache-control"] == "no-cache"
        assert "etag" in found


# ------------------------------------------------------------------ where everybody signs in


def test_the_studio_asks_for_the_token_and_keeps_it_for_the_tab(
    guarded: ServeApp, visit: Callable[..., Visit]
) -> None:
    page = visit(f"{guarded.http}?source=sample&autostart=1")
    page.page.wait_for_selector("#sign-in[open]")
    ARTIFACTS.mkdir(exist_ok=True)
    page.page.screenshot(path=ARTIFACTS / "studio-sign-in.png")
    assert page.page.inner_text("#sign-in-why") == "This server asks who you are."
    page.page.fill("#token", "wrong-token")
    page.page.click("#sign-in-form button")
    page.page.wait_for_function(
        "() => document.getElementById('sign-in-why').textContent.includes('did not accept')"
    )
    page.page.fill("#token", TOKEN)
    page.page.click("#sign-in-form button")
    page.wait_for_data("state", "live")
    page.page.reload()
    page.wait_for_data("state", "live")
    page.wait_for_results(5)
    assert TOKEN not in page.page.url
    assert rejected(guarded, "ticket_used") == 0
    (session,) = operators(guarded)
    assert session["principal"] == "ada"
    page.page.evaluate("() => sessionStorage.clear()")


def operators(app: ServeApp) -> list[dict[str, Any]]:
    request = urllib.request.Request(f"{app.http}api/sessions")
    request.add_header("authorization", "Bearer operator")
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["sessions"]
    return found


def test_with_its_line_the_other_front_end_may_come_and_must_sign_in(
    guarded: ServeApp, port: int, visit: Callable[..., Visit]
) -> None:
    before = rejected(guarded, "token_missing"), rejected(guarded, "origin")
    title(visit(f"http://{STRANGER}:{port}/?server={guarded.ws}"), "closed 1006")
    after = rejected(guarded, "token_missing"), rejected(guarded, "origin")
    assert after == (before[0] + 1, before[1])
    page = visit(f"http://{STRANGER}:{port}/?server={guarded.ws}")
    shown = page.page.evaluate(
        """async ([url, token]) => {
          const headers = { authorization: `Bearer ${token}` };
          const answer = await fetch(`${url}api/ticket`, { method: "POST", headers });
          const { ticket } = await answer.json();
          const socket = new WebSocket(url.replace("http", "ws") + "ws",
            ["segstream.plain", `segstream.${ticket}`]);
          return new Promise((resolve) => {
            socket.onmessage = ({ data }) => resolve(JSON.parse(data).type);
            socket.onclose = ({ code }) => resolve(code);
          });
        }""",
        [guarded.http, TOKEN],
    )
    assert shown == "connected"


def test_the_command_line_signs_in_by_the_environment_or_a_file(
    guarded: ServeApp, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    command = [sys.executable, "-m", "client", guarded.ws, "--image", str(ASTRONAUT)]
    for more, environ, code, words in (
        ([], {"SEGSTREAM_TOKEN": TOKEN}, 0, "person: person "),
        (["--token-file", str(file)], {}, 0, "person: person "),
        ([], {}, 3, "3000"),
        ([], {"SEGSTREAM_TOKEN": "wrong"}, 3, "the token is not accepted"),
    ):
        done = subprocess.run(
            [*command, *more], cwd=ROOT, env={**os.environ, **environ}, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert words in done.stdout + done.stderr
