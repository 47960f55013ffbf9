"""What lies between uvicorn and Serve: two pieces for WebSockets alone, and one for POSTs."""

from __future__ import annotations

import asyncio
import inspect
import json
from contextlib import nullcontext

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import http_util, replica
from starlette.types import Message, Receive, Scope, Send

from deployments.serve.middleware import DropAfterLoss, FewPosts, RawWebSocket
from ingress.admission.refusal import Refused


async def receive() -> Message:
    return {}


@pytest.mark.parametrize("loss", [ConnectionResetError, OSError, RuntimeError])
@pytest.mark.parametrize(("kind", "raised"), [("websocket", False), ("http", True)])
async def test_what_is_sent_to_a_lost_websocket_is_dropped(
    kind: str, raised: bool, loss: type[Exception]
) -> None:
    passed: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": f"{kind}.send"})
        passed.append(kind)

    async def gone(message: Message) -> None:
        raise loss("the peer has gone")

    with pytest.raises(loss) if raised else nullcontext():
        await DropAfterLoss(inner)({"type": kind}, receive, gone)
    assert passed == ([] if raised else [kind])


@pytest.mark.parametrize(("kind", "marked"), [("websocket", True), ("http", False)])
async def test_only_websockets_are_marked(kind: str, marked: bool) -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def send(message: Message) -> None: ...

    await RawWebSocket(inner)({"type": kind, "headers": []}, receive, send)
    assert http_util.parse_disconnect_disabled_header(dict(seen[0]["headers"])) is marked


def test_serve_still_reads_the_mark() -> None:
    assert "parse_disconnect_disabled_header" in inspect.getsource(replica)


async def test_a_flood_of_posts_is_answered_at_the_door_and_nothing_else_is_held_up() -> None:
    leave = asyncio.Event()
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["method"])
        if scope["method"] == "POST":
            await leave.wait()
        await send({"type": "http.response.start", "status": 200})

    door = FewPosts(app, most=2)

    async def ask(method: str) -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError

        await door({"type": "http", "method": method}, receive, send)
        return sent

    staying = [asyncio.create_task(ask("POST")) for _ in range(2)]
    await asyncio.sleep(0)
    start, body = await ask("POST")
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"5")
    refused = Refused("requests")
    assert json.loads(body["body"]) == refused.body(), "the app's own words"
    assert dict(start["headers"])[b"retry-after"].decode() == refused.headers()["retry-after"]
    assert (await ask("GET"))[0]["status"] == 200
    leave.set()
    assert [sent[0]["status"] for sent in await asyncio.gather(*staying)] == [200, 200]
    assert (await ask("POST"))[0]["status"] == 200
    assert asked.count("POST") == 3
