"""What lies between uvicorn and Serve: two pieces for WebSockets alone."""

from __future__ import annotations

import inspect
from contextlib import nullcontext

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import http_util, replica
from starlette.types import Message, Receive, Scope, Send

from deployments.serve.middleware import DropAfterLoss, RawWebSocket


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
