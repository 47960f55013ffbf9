"""What lies between uvicorn and Serve: two pieces for WebSockets alone, and one for POSTs."""

from __future__ import annotations

import asyncio
import inspect
import json
from contextlib import nullcontext, suppress

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import http_util, replica
from starlette.types import Message, Receive, Scope, Send

from deployments.serve.middleware import DropAfterLoss, FewPosts, GatheredBody, RawWebSocket
from ingress.admission.refusal import Refused
from tests.virtual_time import VirtualTimeLoop


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

    door = FewPosts(app, most=2, per_s=100)

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


@pytest.mark.parametrize(("status", "took_s"), [(503, 1.5), (408, 1.5), (200, 0.0)])
def test_posts_that_come_to_nothing_are_passed_on_at_a_rate(status: int, took_s: float) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status})

    async def send(message: Message) -> None: ...

    async def flood() -> float:
        door = FewPosts(app, most=1000, per_s=10)
        clock = asyncio.get_running_loop().time
        began = clock()
        for _ in range(26):
            await door({"type": "http", "method": "POST"}, receive, send)
        return clock() - began

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(flood()) == pytest.approx(took_s)


def test_a_post_that_is_given_up_costs_its_turn_and_leaves_its_place() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def send(message: Message) -> None: ...

    async def flood() -> float:
        door = FewPosts(app, most=1, per_s=10)
        clock = asyncio.get_running_loop().time
        began = clock()
        for _ in range(16):
            with suppress(asyncio.CancelledError):
                await door({"type": "http", "method": "POST"}, receive, send)
        return clock() - began

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(flood()) == pytest.approx(0.5)


class Upload:
    """Pieces of a body, each some time after the one before; then silence, as of a client's."""

    def __init__(self, *pieces: tuple[float, Message]) -> None:
        self._pieces = list(pieces)

    async def receive(self) -> Message:
        if not self._pieces:
            await asyncio.get_running_loop().create_future()
        pause_s, message = self._pieces[0]
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(pause_s)
        except asyncio.CancelledError:  # what has come is not asked for again
            waited_s = asyncio.get_running_loop().time() - began
            self._pieces[0] = (pause_s - waited_s, message)
            raise
        del self._pieces[0]
        return message


def piece(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


LEFT: Message = {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("upload", "passed_on"),
    [
        ([(0, piece(b"whole", False))], [(0, piece(b"whole", False))]),
        ([(0, piece(b"a")), (0.1, piece(b"b", False))], [(0.1, piece(b"ab", False))]),
        ([(0.8, piece(b"x"))] * 5, [(2.8, piece(b"xxx")), (5.2, piece(b"xx"))]),
        ([(0, piece(bytes(300_000)))] * 2, [(0, piece(bytes(300_000)))] * 2),
        ([(0, piece(b"a")), (0.1, LEFT)], [(0.1, LEFT)]),
        ([(0, piece(b"", False)), (9, LEFT)], [(0, piece(b"", False)), (9, LEFT)]),
    ],
)
def test_a_body_is_passed_on_in_large_pieces_or_now_and_then(
    upload: list[tuple[float, Message]], passed_on: list[tuple[float, Message]]
) -> None:
    seen: list[tuple[float, Message]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began = asyncio.get_running_loop().time()
        for _ in passed_on:
            message = await receive()
            seen.append((asyncio.get_running_loop().time() - began, message))

    async def send(message: Message) -> None: ...

    async def ask() -> None:
        await GatheredBody(app, hold_s=2)({"type": "http"}, Upload(*upload).receive, send)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(ask())
    assert [message for _, message in seen] == [message for _, message in passed_on]
    assert [at for at, _ in seen] == pytest.approx([at for at, _ in passed_on])
