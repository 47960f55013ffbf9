"""What every answer says to browsers, and which pages are answered at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from deployments.manners import HEADERS, Manners, knock_of
from deployments.serve.middleware import PEER
from ingress.admission.gate import Gate
from ingress.admission.refusal import KEPT_OUT
from ingress.policy import Admission
from ingress.settings import Http


class Behind:
    """The routes: ``asked`` counts what came through."""

    def __init__(self, listens_on: str = "127.0.0.1", **settings: Any) -> None:
        self.asked: list[str] = []
        self.counted = Counter[str]()
        admission = Admission.model_validate(settings)
        count = lambda name, number: self.counted.update({name: number})  # noqa: E731
        gate = Gate(admission, Http(max_requests=1), listens_on, None, None, None, count)
        self.manners = Manners(self._routes, lambda: gate)

    async def _routes(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await PlainTextResponse("said")(scope, receive, send)

    async def ask(
        self, path: str = "/api/modes", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            sent.append(message)

        named = {"host": "localhost:8000", **{n.replace("_", "-"): v for n, v in headers.items()}}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": raw, "scheme": "http",
                 "client": ("127.0.0.1", 4711)}  # fmt: skip
        await self.manners(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:])


async def test_whom_the_server_in_front_kept_out_is_counted_with_the_next() -> None:
    behind = Behind()
    scope = {"type": "websocket", "path": "/ws", "extensions": {KEPT_OUT: {"connections": 3}}}

    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    behind.manners._app = app
    await behind.manners(scope, app, app)  # type: ignore[arg-type]
    assert behind.counted == {"connections": 3}


async def test_every_answer_is_strict_with_browsers() -> None:
    for path in ("/", "/web/stream.js", "/api/modes", "/nothing"):
        _, headers, _ = await Behind().ask(path)
        assert headers.items() >= HEADERS.items()
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/", "no-cache"), ("/web/studio.js", "no-cache"), ("/api/modes", "no-store"),
     ("/metrics", "no-store"), ("/webcam", "no-store")],
)  # fmt: skip
async def test_files_are_asked_for_anew_and_answers_not_kept(path: str, kept: str) -> None:
    _, headers, _ = await Behind().ask(path)
    assert headers["cache-control"] == kept


async def test_a_page_that_may_connect_may_read_answers_and_others_may_not() -> None:
    behind = Behind(allowed_origins=["https://page.example"])
    for origin in ("https://page.example", "http://localhost:3000"):
        _, headers, _ = await behind.ask(origin=origin)
        assert headers["access-control-allow-origin"] == origin
        assert headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in headers
    status, headers, _ = await behind.ask(origin="https://evil.example")
    assert status == 200
    assert "access-control-allow-origin" not in headers
    assert headers["vary"] == "Origin"


async def test_a_strange_page_makes_the_server_do_nothing() -> None:
    behind = Behind()
    for method in ("POST", "OPTIONS", "DELETE"):
        status, _, body = await behind.ask("/api/segment", method, origin="https://evil.example")
        assert status == 403
        assert b"ingress.admission.allowed_origins" in body
    assert behind.asked == []
    assert behind.counted == {"origin": 3}
    assert (await behind.ask("/api/segment", "POST"))[0] == 200, "a program"
    assert (await behind.ask("/api/segment", "POST", origin="http://localhost:8000"))[0] == 200


async def test_a_page_that_asks_first_is_answered_without_a_route() -> None:
    behind = Behind()
    asking = {"origin": "http://localhost:3000", "access_control_request_method": "POST"}
    status, headers, _ = await behind.ask("/api/segment", "OPTIONS", **asking)
    assert (status, behind.asked) == (204, [])
    assert "authorization" in headers["access-control-allow-headers"]
    assert "POST" in headers["access-control-allow-methods"]


async def test_by_a_strange_name_only_probes_are_answered() -> None:
    behind = Behind()
    for path in ("/", "/metrics", "/api/segment"):
        status, _, body = await behind.ask(path, host="evil.example:8000")
        assert status == 403
        assert b"ingress.admission.hosts" in body
    for path in ("/health", "/ready"):
        assert (await behind.ask(path, host="10.1.2.3:8000"))[0] == 200
    proxied = {"host": "seg.example", "x_forwarded_proto": "https"}
    assert (await behind.ask("/", **proxied))[0] == 200
    assert (await Behind("0.0.0.0").ask("/", host="evil.example"))[0] == 200


def test_a_knock_has_the_peer_of_the_socket_and_joined_headers() -> None:
    scope = {
        "type": "websocket", "scheme": "wss", "client": ("6.6.6.6", 0),
        "extensions": {PEER: {"client": ("127.0.0.1", 4711)}}, "subprotocols": ["a"],
        "headers": [(b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"),
                    (b"origin", b"\xff")],
    }  # fmt: skip
    knock = knock_of(scope)
    assert (knock.peer, knock.scheme, knock.subprotocols) == ("127.0.0.1", "wss", ("a",))
    assert knock.headers == {"x-forwarded-for": "1.1.1.1, 2.2.2.2", "origin": "\xff"}
    del scope["extensions"]
    assert knock_of(scope).peer == "6.6.6.6"
    assert knock_of({**scope, "client": None}).peer is None


async def test_requests_have_places_and_probes_and_scrapes_need_none() -> None:
    behind = Behind()
    inside, leave = asyncio.Event(), asyncio.Event()

    async def stay(scope: Scope, receive: Receive, send: Send) -> None:
        inside.set()
        await leave.wait()
        await PlainTextResponse("said")(scope, receive, send)

    behind.manners._app, routes = stay, behind.manners._app
    first = asyncio.create_task(behind.ask())
    await inside.wait()
    behind.manners._app = routes
    status, headers, body = await behind.ask("/api/segment", "POST")
    assert (status, headers["retry-after"]) == (503, "5")
    assert b"too many requests are under way" in body
    for path in ("/health", "/ready", "/metrics"):
        assert (await behind.ask(path))[0] == 200
    leave.set()
    assert (await first)[0] == 200
    assert (await behind.ask())[0] == 200
    assert behind.counted == {"requests": 1}
