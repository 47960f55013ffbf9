"""The routes of an ingress replica, driven over ASGI; Serve, and who is behind it, is played."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter
from ray import serve
from ray.exceptions import ActorUnavailableError
from starlette.types import Message

from deployments import ingress as module
from deployments.metrics.exposition import written
from deployments.serve.outfitter import Outfitter
from ingress.resume.parked import Renewal
from ingress.settings import IngressSettings
from models.catalog import MODES
from tests.ingress.fakes import FakeAnalyst, FakeAnalyzer, FakeCensus, FakeStore
from tests.ingress.turns import end_calls

MODES_HOSTED = ("person", "parts")
TOKEN = "let me in"
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()


# The class that Serve wraps: what is left out is its bookkeeping around the ASGI app.
OURS: Any = module.Ingress.__mro__[1]


def play(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Set what the module knows by ``name``, for its class as well.

    Serve ships the app by value, and has read what it wrote: since then the methods of the
    class have globals of their own.
    """
    for known in (vars(module), OURS.__init__.__globals__):
        monkeypatch.setitem(known, name, value)


class Handle:
    """A deployment; ``answers`` is what its replicas say to a broadcast of each method."""

    def __init__(self, name: str) -> None:
        self.deployment_name = name
        self.answers: dict[str, Sequence[Any]] = {"exposition": [()]}

    def options(self, **_: object) -> Handle:
        return self

    def broadcast(self, method: str, *_: Any) -> Any:
        async def calls() -> list[Any]:
            return [SimpleNamespace(get_async=said(answer)) for answer in self.answers[method]]

        return SimpleNamespace(_fetch_replica_results_async=calls)


def said(answer: Any) -> Callable[[], Any]:
    async def get_async() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return get_async


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A WebSocket client of the app; ``sent`` is what the app has sent it."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: asyncio.Queue[Message] = asyncio.Queue()

    async def next(self, kind: str) -> Message:
        """The next message of that kind; others are let pass."""
        while (message := await self.sent.get())["type"] != f"websocket.{kind}":
            pass
        return message


@dataclass
class World:
    """One replica, and the fakes on its every side."""

    replica: Any
    analyzer: FakeAnalyzer
    siblings: Handle
    pool: Handle
    told: asyncio.Event

    async def ask(
        self, path: str, *, body: bytes = b"", authorization: str = "", method: str = "GET"
    ) -> Answer:
        """A GET, or a POST of ``body``; of a HEAD uvicorn would send no body."""
        headers = [(b"host", b"localhost:8000")]
        headers += [(b"authorization", authorization.encode())] if authorization else []
        path, _, query = path.partition("?")
        sent: list[Message] = []
        coming = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            if not coming:
                await asyncio.Event().wait()
            return coming.pop()

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST" if body else method, "headers": headers,
                 "client": ("127.0.0.1", 4711)}  # fmt: skip
        await module.api({**scope, "path": path, "query_string": query.encode()}, receive, send)
        start, *rest = sent
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message["body"] for message in rest),
        )

    @asynccontextmanager
    async def client(
        self, *subprotocols: str, origin: str | None = None, authorization: str = ""
    ) -> AsyncIterator[Client]:
        """A WebSocket to ``/ws``, which the client closes in the end."""
        client = Client()
        await client.coming.put({"type": "websocket.connect"})
        headers = [(b"host", b"localhost:8000")]
        headers += [] if origin is None else [(b"origin", origin.encode())]
        headers += [(b"authorization", authorization.encode())] if authorization else []
        scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": headers,
                 "extensions": {"websocket.http.response": {}}}  # fmt: skip
        route = asyncio.create_task(
            module.api(
                {**scope, "subprotocols": list(subprotocols)}, client.coming.get, client.sent.put
            )
        )
        yield client
        await client.coming.put({"type": "websocket.disconnect", "code": 1000, "reason": ""})
        await route

    def count(self, name: str, **labels: str) -> float:
        """One sample of the replica's own metrics."""
        registry: CollectorRegistry = self.replica._service.metrics.registry
        value = registry.get_sample_value(f"segstream_{name}", labels)
        assert value is not None
        return value


Make = Callable[..., World]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Start a replica under these groups of settings, without a cluster."""
    made: list[World] = []

    def make(listens_on: str | None = "127.0.0.1", **groups: Mapping[str, Any]) -> World:
        settings = IngressSettings.model_validate({**groups, "listens_on": listens_on})
        world = World(
            None, FakeAnalyzer(), Handle("ingress"), Handle("segmenter-main"), asyncio.Event()
        )
        here = SimpleNamespace(deployment="ingress", app_name="segstream", replica_tag="me")
        monkeypatch.setattr(serve, "get_replica_context", lambda: here)
        monkeypatch.setattr(serve, "get_deployment_handle", lambda *_: world.siblings)
        for name, fake in {
            "Pools": world.analyzer,
            "StatsPool": FakeAnalyst(),
            "ReplicaCensus": FakeCensus(),
            "StoreHandle": FakeStore(settings.resume),
        }.items():
            play(monkeypatch, name, lambda *_, fake=fake: fake)
        play(monkeypatch, "told_to_stop", world.told.wait)
        play(monkeypatch, "outfitter", lambda _: Outfitter(dict))
        pools = dict.fromkeys(MODES_HOSTED, world.pool)
        world.replica = OURS(settings, pools, Handle("stats"), Handle("session-store"))
        here.servable_object = world.replica
        made.append(world)
        return world

    yield make
    for world in made:
        replica = world.replica
        watching = replica._readiness._watching
        for task in (replica._equipping, replica._renewing, replica._draining, watching):
            if task is not None:
                task.cancel()
        await end_calls(world.replica._service)


# ------------------------------------------------------------------ the WebSocket


async def test_a_page_of_another_origin_is_refused_before_it_is_accepted(make: Make) -> None:
    world = make(admission={"allowed_origins": ["https://ours.example"]})
    async with world.client("segstream.v1", origin="https://theirs.example") as client:
        assert (await client.next("http.response.start"))["status"] == 403
        body = (await client.next("http.response.body"))["body"]
    assert b'allowed_origins: [\\"https://theirs.example\\"] would let it in' in body
    assert client.sent.empty()
    assert world.count("ws_handshakes_rejected_total", reason="origin") == 1
    assert world.count("ws_connections_total") == 0


@pytest.mark.parametrize("origin", ["https://ours.example", None])
async def test_our_own_page_and_programs_come_in(make: Make, origin: str | None) -> None:
    world = make(admission={"allowed_origins": ["https://ours.example"]})
    async with world.client(origin=origin) as client:
        await client.next("accept")
    assert world.count("ws_connections_total") == 1


@pytest.mark.parametrize(
    ("offered", "chosen", "dialect"),
    [
        ((), None, "plain"),
        (("chat",), None, "plain"),
        (("segstream.v1",), "segstream.v1", "v1"),
        (("chat", "segstream.v1"), "segstream.v1", "v1"),
    ],
)
async def test_the_dialect_is_that_of_the_subprotocol(
    make: Make, offered: tuple[str, ...], chosen: str | None, dialect: str
) -> None:
    world = make()
    async with world.client(*offered) as client:
        accepted = await client.next("accept")
        assert accepted["subprotocol"] == chosen
        (row,) = await world.replica.sessions_here()
        assert row["dialect"] == dialect
    assert await world.replica.sessions_here() == []


async def test_a_client_is_told_the_modes_that_are_hosted(make: Make) -> None:
    async with make().client() as client:
        greeting = json.loads((await client.next("send"))["text"])
    assert greeting["available_models"] == list(MODES_HOSTED)


async def test_a_session_that_is_elsewhere_cannot_be_let_go(make: Make) -> None:
    assert await make().replica.release("nobody") is False


async def test_who_is_told_to_stop_lets_its_clients_go(make: Make) -> None:
    world = make(drain={"grace_s": 1}, resume={"store_timeout_s": 1})
    async with world.client() as client:
        await client.next("send")
        world.told.set()
        assert (await client.next("close"))["code"] == 1012


async def test_a_bug_in_the_renewal_of_sessions_is_counted_and_the_next_one_comes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(resume={"ttl_s": 1.1, "store_timeout_s": 1})
    renewed: list[float] = []
    again = asyncio.Event()

    async def renew(_: Mapping[bytes, str]) -> Renewal:
        renewed.append(asyncio.get_running_loop().time())
        if len(renewed) == 1:
            raise ZeroDivisionError("planted")
        again.set()
        return Renewal(frozenset(), frozenset())

    monkeypatch.setattr(world.replica._service.store, "renew", renew)
    await asyncio.wait_for(again.wait(), 10)
    assert world.count("unhandled_exceptions_total") == 1


async def test_a_bug_while_it_waits_for_the_word_to_stop_does_not_keep_it_from_hearing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ZeroDivisionError("planted")]
    world = make(drain={"grace_s": 3})

    async def told() -> None:
        if failures:
            raise failures.pop()
        await world.told.wait()

    play(monkeypatch, "told_to_stop", told)
    async with world.client() as client:
        await client.next("send")
        world.told.set()
        assert (await client.next("close"))["code"] == 1012
    assert world.count("unhandled_exceptions_total") == 1


# ------------------------------------------------------------------ the pages


async def test_the_page_and_its_parts_are_served(make: Make) -> None:
    world = make()
    for path in ("/", "/web/stream.js"):
        answer = await world.ask(path)
        assert (answer.status, bool(answer.body)) == (200, True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_process_that_answers_is_healthy_whoever_else_hangs(
    make: Make, method: str
) -> None:
    world = make()
    world.analyzer.gate = asyncio.Event()
    answer = await world.ask("/health", method=method)
    assert (answer.status, answer.json) == (200, {"status": "ok", "sessions": 0})
    assert world.analyzer.calls == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_it_is_ready_where_a_segmenter_answers_for_the_default_mode(
    make: Make, method: str
) -> None:
    world = make(default_mode="parts")
    answer = await world.ask("/ready", method=method)
    assert (answer.status, answer.json) == (200, {"status": "ready"})
    assert world.analyzer.calls == [("parts", [])], "a call without frames"
    world = make(default_mode="parts")
    world.analyzer.gate = asyncio.Event()
    answer = await world.ask("/ready", method=method)
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert "no segmenter answers for parts" in answer.json["why"]


async def test_the_modes_are_rows_of_the_catalogue(make: Make) -> None:
    answer = await make().ask("/api/modes")
    assert [row["name"] for row in answer.json] == [name for name in MODES if name in MODES_HOSTED]
    for row in answer.json:
        spec = MODES[row["name"]]
        assert (row["title"], tuple(row["labels"])) == (spec.title, spec.labels)
        assert tuple(tuple(rgb) for rgb in row["palette"]) == spec.palette
        assert tuple(row["input_size"]) == spec.input_size


async def test_a_picture_is_answered_and_a_refusal_is_said(make: Make) -> None:
    world = make()
    answer = await world.ask("/api/segment?mode=parts", body=b"a picture")
    assert (answer.status, answer.body) == (200, b"a picture"), "the fake's mask"
    assert json.loads(answer.headers["x-segstream-meta"])["mode"] == "parts"
    assert world.analyzer.calls == [("parts", [b"a picture"])]
    answer = await world.ask("/api/segment?mode=salient", body=b"a picture")
    assert (answer.status, answer.json["error"]["code"]) == (404, "INVALID_MODE")


# ------------------------------------------------------------------ the operator


async def test_without_a_configured_token_nobody_sees_the_sessions(make: Make) -> None:
    answer = await make().ask("/api/sessions", authorization=f"Bearer {TOKEN}")
    assert (answer.status, answer.json["error"]["code"]) == (403, "UNAUTHORIZED")
    assert "operator_token_sha256" in answer.json["error"]["message"]
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("given", ["", "Bearer let me out"])
async def test_without_the_token_nobody_sees_them(make: Make, given: str) -> None:
    world = make(admission={"operator_token_sha256": SHA256})
    answer = await world.ask("/api/sessions", authorization=given)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "Bearer TOKEN" in answer.json["error"]["message"]


async def test_the_operator_sees_those_of_every_replica_that_answers(make: Make) -> None:
    world = make(admission={"operator_token_sha256": SHA256})
    gone = ActorUnavailableError("gone", None)
    world.siblings.answers["sessions_here"] = [[{"session": "a"}], gone, [{"session": "b"}], []]
    answer = await world.ask("/api/sessions", authorization=f"Bearer {TOKEN}")
    assert (answer.status, answer.json) == (
        200,
        {"sessions": [{"session": "a"}, {"session": "b"}], "replicas": 3, "replicas_missing": 1},
    )


# ------------------------------------------------------------------ signing in

ADAS = "a" * 32
SIGNING = {
    "auth": "tokens",
    "tokens": [{"principal": "ada", "sha256": hashlib.sha256(ADAS.encode()).hexdigest()}],
}


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic x"])
async def test_who_does_not_sign_in_is_refused_before_accept(make: Make, given: str) -> None:
    world = make(admission=SIGNING)
    async with world.client(authorization=given) as client:
        start = await client.next("http.response.start")
    assert start["status"] == 401
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert world.count("ws_connections_total") == 0


async def test_one_address_too_many_is_429_and_is_told_when_to_come_back(make: Make) -> None:
    world = make(admission={"max_ungreeted": 1})
    async with world.client("segstream.v1") as first:
        await first.next("accept")
        async with world.client("segstream.v1") as second:
            start = await second.next("http.response.start")
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert world.count("ws_handshakes_rejected_total", reason="ungreeted") == 1


async def test_a_token_lets_in_and_a_ticket_does_once(make: Make) -> None:
    world = make(admission=SIGNING)
    async with world.client(authorization=f"Bearer {ADAS}") as client:
        await client.next("accept")
    answer = await world.ask("/api/ticket", method="POST", authorization=f"Bearer {ADAS}")
    assert (answer.status, answer.json["expires_s"]) == (200, 30)
    offered = ("segstream.plain", f"segstream.{answer.json['ticket']}")
    async with world.client(*offered) as client:
        assert (await client.next("accept"))["subprotocol"] == "segstream.plain"
    async with world.client(*offered) as client:
        assert (await client.next("http.response.start"))["status"] == 401
    assert world.count("ws_handshakes_rejected_total", reason="ticket_used") == 1


async def test_without_a_token_there_is_no_ticket_and_no_picture(make: Make) -> None:
    world = make(admission=SIGNING)
    for path, body in (("/api/ticket", b""), ("/api/segment", b"a picture")):
        answer = await world.ask(path, body=body, method="POST")
        assert (answer.status, answer.json["error"]["code"]) == (401, "UNAUTHORIZED")
    assert world.analyzer.calls == []
    answer = await world.ask("/api/segment", body=b"a picture", authorization=f"Bearer {ADAS}")
    assert (answer.status, answer.body) == (200, b"a picture")


# ------------------------------------------------------------------ the metrics


@pytest.mark.parametrize("listens_on", ["0.0.0.0", None])
async def test_where_others_can_ask_the_metrics_are_the_operators(
    make: Make, listens_on: str | None
) -> None:
    world = make(listens_on)
    answer = await world.ask("/metrics")
    assert answer.status == 403
    assert "operator_token_sha256" in answer.json["error"]["message"]
    world = make(listens_on, admission={"operator_token_sha256": SHA256})
    assert (await world.ask("/metrics")).status == 401
    assert (await world.ask("/metrics", authorization=f"Bearer {TOKEN}")).status == 200


async def test_the_metrics_are_those_of_every_replica(make: Make) -> None:
    world = make()
    registry = CollectorRegistry()
    Counter("frames", "Frames.", registry=registry).inc(7)
    world.pool.answers["exposition"] = [written(registry, "segmenter-main", "a")]
    answer = await world.ask("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, CONTENT_TYPE_LATEST)
    lines = answer.body.decode().splitlines()
    assert 'frames_total{deployment="segmenter-main",replica="a"} 7.0' in lines
    assert 'segstream_ws_connections_total{deployment="ingress",replica="me"} 0.0' in lines


async def test_a_replica_shows_its_metrics_to_a_sibling_and_not_to_itself(make: Make) -> None:
    world = make()
    names = {family.name for family in await world.replica.exposition("another")}
    assert {"segstream_ws_connections", "segstream_scrape_replicas_missing"} <= names
    assert await world.replica.exposition("me") == ()
