"""What of a crowd is passed on: places, turns, pieces of bodies, and who streams beside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.serve.crowd import Bounds, Crowd, address_key
from ingress.admission.addresses import Addresses
from ingress.admission.refusal import KEPT_OUT, Refused
from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")
A, B = "198.51.100.1", "198.51.100.2"


def on_virtual_time(act: Callable[[], Awaitable[T]]) -> T:
    async def acted() -> T:
        return await act()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(acted())


def door(app: ASGIApp, *, most: int = 1000, beside_streams: int = 1, per_s: float = 10) -> Crowd:
    bounds = Bounds(most, beside_streams, fruitless_per_s=per_s, hold_s=2)
    return Crowd(app, bounds, lambda scope: scope.get("key"))


def post(key: str | None = None) -> Scope:
    return {"type": "http", "method": "POST", "key": key}


async def receive() -> Message:
    return {"type": "http.request", "body": b"picture", "more_body": False}


async def send(message: Message) -> None: ...


class App:
    """Answers with ``status`` after ``takes_s``; ``here`` and ``most`` count who is inside."""

    def __init__(self, status: int = 200, takes_s: float = 0.0) -> None:
        self.status = status
        self.takes_s = takes_s
        self.asked = self.here = self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        self.here += 1
        self.most = max(self.most, self.here)
        try:
            await asyncio.sleep(self.takes_s)
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": self.status})
        finally:
            self.here -= 1


async def status_of(crowd: Crowd, scope: Scope, receive: Receive = receive) -> list[Message]:
    sent: list[Message] = []

    async def noted(message: Message) -> None:
        sent.append(message)

    await crowd(scope, receive, noted)
    return sent


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_flood_of_posts_is_answered_at_the_door_and_nothing_else_is_held_up() -> None:
    async def flood() -> None:
        app = App(takes_s=1)
        crowd = door(app, most=2)
        staying = [asyncio.create_task(status_of(crowd, post())) for _ in range(2)]
        await asyncio.sleep(0)
        start, body = await status_of(crowd, post())
        assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"5")
        refused = Refused("requests")
        assert json.loads(body["body"]) == refused.body(), "the app's own words"
        assert dict(start["headers"])[b"retry-after"].decode() == refused.headers()["retry-after"]
        assert (await status_of(crowd, {"type": "http", "method": "GET"}))[0]["status"] == 200
        assert [sent[0]["status"] for sent in await asyncio.gather(*staying)] == [200, 200]
        assert (await status_of(crowd, post()))[0]["status"] == 200
        assert app.asked == 4

    on_virtual_time(flood)


def test_one_address_has_half_of_the_places() -> None:
    async def flood() -> None:
        crowd = door(App(takes_s=1), most=4)
        staying = [asyncio.create_task(status_of(crowd, post(A))) for _ in range(2)]
        await asyncio.sleep(0)
        assert (await status_of(crowd, post(A)))[0]["status"] == 503
        assert (await status_of(crowd, post(B)))[0]["status"] == 200
        await asyncio.gather(*staying)
        assert not crowd._posts

    on_virtual_time(flood)


@pytest.mark.parametrize(("status", "took_s"), [(503, 1.5), (408, 1.5), (200, 0.0)])
def test_posts_that_come_to_nothing_are_passed_on_at_a_rate(status: int, took_s: float) -> None:
    async def flood() -> float:
        crowd = door(App(status), per_s=10)
        began = now()
        for _ in range(36):
            await crowd(post(A), receive, send)
        took = now() - began
        await crowd(post(B), receive, send)
        assert now() - began == took, "another address has turns of its own"
        return took

    assert on_virtual_time(flood) == pytest.approx(took_s)


def test_a_post_that_is_given_up_costs_its_turn_and_leaves_its_place() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def flood() -> float:
        crowd = door(app, most=1, per_s=10)
        began = now()
        for _ in range(26):
            with suppress(asyncio.CancelledError):
                await crowd(post(), receive, send)
        return now() - began

    assert on_virtual_time(flood) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("key", "lives_s", "took_s"), [(A, 0.0, 0.5), (A, 1.0, 26.0), (None, 0.0, 0.0)]
)
def test_connections_that_end_at_once_are_passed_on_at_a_rate(
    key: str | None, lives_s: float, took_s: float
) -> None:
    """All but those of loopback; who stays has its turn back."""

    async def flood() -> float:
        crowd = door(App(takes_s=lives_s))
        began = now()
        for _ in range(26):
            await crowd({"type": "websocket", "key": key}, receive, send)
        return now() - began

    assert on_virtual_time(flood) == pytest.approx(took_s)


def test_past_its_patience_a_connection_is_refused_and_another_address_is_not() -> None:
    async def flood() -> None:
        app = App()
        crowd = door(app)
        scope = {"type": "websocket", "key": A}
        waiting = [asyncio.create_task(status_of(crowd, scope)) for _ in range(200)]
        await asyncio.sleep(0)
        assert not await status_of(crowd, {"type": "websocket", "key": B}), "the app's to answer"
        refused = [sent for sent in await asyncio.gather(*waiting) if sent]
        assert len(refused) == 200 - 20 - 101
        start, body = refused[0]
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
        assert json.loads(body["body"]) == Refused("connections").body()

    on_virtual_time(flood)


def test_beside_a_stream_a_few_posts_are_passed_on_at_once() -> None:
    async def flood(takes_s: float, streams: int) -> tuple[int, float]:
        """The most that were asked at once, and how long all ten took."""
        app = App(takes_s=takes_s)
        crowd = door(app, beside_streams=2)
        crowd._streams = streams
        began = now()
        await asyncio.gather(*(crowd(post(), receive, send) for _ in range(10)))
        return app.most, now() - began

    def outcome(takes_s: float, streams: int) -> tuple[int, float]:
        most, took_s = on_virtual_time(lambda: flood(takes_s, streams))
        return most, round(took_s, 6)

    assert outcome(0.1, streams=0) == (10, 0.1)
    # Each place is used five times, and between them it rests for as long.
    assert outcome(0.1, streams=1) == (2, 0.9)
    # But never longer than a quarter of a second.
    assert outcome(1.0, streams=1) == (2, 6.0)


def test_who_drips_keeps_nobody_out_who_does_not() -> None:
    async def flood() -> float:
        app = App(takes_s=0.1)
        crowd = door(app)
        crowd._streams = 1

        async def dripping() -> Message:
            await asyncio.sleep(1)
            return {"type": "http.request", "body": b"x", "more_body": True}

        app.takes_s = 30
        drips = [asyncio.create_task(status_of(crowd, post(), dripping)) for _ in range(20)]
        await asyncio.sleep(4)
        assert app.here == 2
        app.takes_s = 0.1
        began = now()
        assert (await status_of(crowd, post()))[0]["status"] == 200
        took_s = now() - began
        statuses = [sent[0]["status"] for sent in await asyncio.gather(*drips)]
        assert sorted(statuses) == [200] * 2 + [503] * 18
        return took_s

    assert on_virtual_time(flood) == pytest.approx(0.1)


def test_an_address_is_what_it_is_everywhere() -> None:
    said = [(b"X-Forwarded-For", b"2001:db8::5")]
    scope: Scope = {"client": ("127.0.0.1", 5), "scheme": "ws", "headers": said}
    assert address_key(Addresses(()), scope) == "2001:db8::/64"
    assert address_key(Addresses(()), {**scope, "headers": []}) is None
    assert address_key(Addresses(()), {**scope, "client": None, "headers": []}) is None


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
        ([(0.7, piece(b"x"))] * 5, [(2.0, piece(b"xx")), (4.0, piece(b"xxx"))]),
        ([(0, piece(bytes(300_000)))] * 2, [(0, piece(bytes(300_000)))] * 2),
        ([(9, piece(b"late", False))], [(2, piece(b"")), (4, piece(b"")), (6, piece(b""))]),
        ([(0, piece(b"a")), (0.1, LEFT)], []),  # nobody is asked for who has gone
        ([(0, piece(b"", False)), (9, LEFT)], [(0, piece(b"", False)), (9, LEFT)]),
    ],
)
def test_a_body_is_passed_on_in_large_pieces_or_now_and_then(
    upload: list[tuple[float, Message]], passed_on: list[tuple[float, Message]]
) -> None:
    seen: list[tuple[float, Message]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in passed_on:
            message = await receive()
            seen.append((now() - 1000, message))

    async def ask() -> None:
        await door(app)(post(), Upload(*upload).receive, send)

    on_virtual_time(ask)  # whose clock begins at 1000
    assert [message for _, message in seen] == [message for _, message in passed_on]
    assert [at for at, _ in seen] == pytest.approx([at for at, _ in passed_on])


def test_whom_it_keeps_out_the_app_hears_of_with_the_next() -> None:
    heard: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(scope.get("extensions"))
        await asyncio.sleep(1)

    async def flood() -> None:
        crowd = door(app, most=1)
        staying = asyncio.create_task(status_of(crowd, post()))
        await asyncio.sleep(0.5)
        for _ in range(3):
            await status_of(crowd, post())
        await staying
        stream = {"type": "websocket", "extensions": {"other": {}}}
        await crowd(stream, receive, send)
        await crowd(post(), receive, send)

    on_virtual_time(flood)
    assert heard == [None, {"other": {}, KEPT_OUT: {"requests": 3}}, None]
