"""Replicas that stop, are replaced or die under their clients, however the server was started.

It is the application that all other tests of this folder had, and what is done to it is worse
each time: first another configuration, which these tests need, and in the last test its end. So
they run in order, and after all others of their profile.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

import client
from client import Dropped, Failed
from ingress.wire.replies import Bye
from ingress.wire.words import SUBPROTOCOL
from tests.faults.books import Books, wait_until
from tests.faults.raw_client import ConnectionEnded, RawClient
from tests.integration.returning_client import ReturningClient
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

CLIENTS = 50
GRACE_S = 9
RETRY_MS = (300, 4000)
HEARTBEAT_S = 2.0  # twice what it was
PATIENCE_S = 90.0
PRODUCT = "deployments.app:build"


def roomy(args: Any) -> None:
    args["pools"][0]["modes"] = ["person", "person-wide"]
    args["ingress"] = {
        "keepalive": {"heartbeat_s": HEARTBEAT_S, "timeout_s": 10},
        "drain": {"grace_s": GRACE_S, "retry_ms": list(RETRY_MS)},
    }


@pytest.fixture(scope="session")
def doomed(app: ServeApp) -> ServeApp:
    """The application, deployed without its bug and with deadlines of a production server.

    Servers that run are told, too: a new client has its pings from the same proxies as before.
    """
    before = {p.pid for p in app.proxies()}
    app.redeploy(roomy, PRODUCT)
    wait_until(lambda: pings_are_rarer(app), "pings come as the new yaml says", PATIENCE_S)
    assert {p.pid for p in app.proxies()} == before, "the same proxies"
    wait_until(lambda: len(app.replicas("ingress")) == 1, "the predecessor has gone", PATIENCE_S)
    return app


def pings_are_rarer(app: ServeApp) -> bool:
    """Whether they are for a new client; one of the old replica's is let go meanwhile."""
    with suppress(ConnectionEnded), RawClient(app.port) as client:
        return client.between_pings_s() > HEARTBEAT_S - 0.4
    return False


def redeploy(app: ServeApp, **pool: Any) -> None:
    """The first time it is the ingress that differs; then its pool, by ``pool``."""

    def adjust(args: Any) -> None:
        roomy(args)
        args["ingress"]["retry_ms"] = [400, 20_000]
        args["pools"][0].update(pool)

    app.redeploy(adjust, PRODUCT)


class Bystander:
    """A client that streams until the server lets it go, and comes back when it was told to."""

    def __init__(self, app: ServeApp, picture: bytes, seed: int) -> None:
        self._rng = random.Random(seed)
        self.client = ReturningClient(app.ws, self._rng, picture)
        self.streams = asyncio.Event()
        self.code: int | None = None

    async def let_go(self) -> Bye:
        """Stream until a goodbye and a close come; returns the goodbye."""
        socket = await self.client.come_back()
        for _ in range(3):
            await self.client.request(socket)
        with suppress(ConnectionClosed):
            await self.client.receive(socket)
            self.streams.set()
            await self.client.stream(socket)
        self.code = socket.close_code
        assert self.client.bye is not None, (
            f"closed with {self.code} {socket.close_reason!r} instead"
        )
        return self.client.bye

    async def return_in_window(self, bye: Bye) -> None:
        """Come back in the window that was given: the session must be there."""
        await asyncio.sleep(self._rng.uniform(*bye.retry_ms) / 1000)
        socket = await self.client.come_back()
        for _ in range(3):
            await self.client.send_frame(socket)
            await self.client.receive(socket)
        await socket.close()

    async def live_through(self) -> None:
        bye = await self.let_go()
        assert (bye.reason, bye.resume, bye.retry_ms) == ("server_shutdown", True, RETRY_MS)
        assert self.code == 1012
        await self.return_in_window(bye)


def ends(app: ServeApp, reason: str) -> list[str]:
    return [line for line in app.ended() if f"ended: {reason} by" in line]


@pytest.mark.timeout(240)
async def test_a_redeploy_says_goodbye_and_every_client_is_back_in_the_window(
    doomed: ServeApp, picture: bytes
) -> None:
    books = Books(doomed)
    crowd = [Bystander(doomed, picture, seed) for seed in range(CLIENTS)]
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE_S + 60):
        for bystander in crowd:
            tasks.create_task(bystander.live_through())
        await asyncio.gather(*(bystander.streams.wait() for bystander in crowd))
        await asyncio.to_thread(redeploy, doomed)
    assert all(bystander.client.resumes == 1 for bystander in crowd)
    wait_until(
        lambda: len(books.lines()) == 2 * CLIENTS,
        lambda: "\n".join(["all have left, one line each, not these:", *books.lines()]),
    )
    for reason in ("server_shutdown", "client_close"):
        assert sum(f"ended: {reason} by" in line for line in books.lines()) == CLIENTS
    books.no_stumble()


@pytest.mark.timeout(180)
async def test_a_segmenter_that_is_replaced_answers_what_it_has(
    doomed: ServeApp, picture: bytes
) -> None:
    before, said = doomed.replica("segmenter-main"), doomed.said()
    causes: set[str] = set()
    replaced = False
    async with asyncio.timeout(PATIENCE_S), client.session(doomed.ws) as stream:
        redeployed = asyncio.create_task(asyncio.to_thread(redeploy, doomed, threads=1))
        await stream.send(picture)
        async for outcome in stream:
            assert not isinstance(outcome, Failed), outcome
            if isinstance(outcome, Dropped):
                causes.add(outcome.cause)
            elif replaced:
                break  # the answer to a frame that was sent after the old one had gone
            replaced = not before.is_running()
            await stream.send(picture)
        await redeployed
    # Serve replaces the ingress as well, so the connection ends once.
    assert causes <= {"mode_unavailable", "closed", "disconnected"}
    for words in ("is lost, and", "Traceback"):
        assert doomed.said().count(words) == said.count(words), "it was not cut off"


@pytest.mark.timeout(180)
async def test_mode_and_view_survive_a_killed_ingress_replica(doomed: ServeApp) -> None:
    wait_until(lambda: len(doomed.replicas("ingress")) == 1, "no predecessor is left to drain")
    lines, tracebacks = len(doomed.ended()), doomed.said().count("Traceback")
    async with connect(doomed.ws, subprotocols=[SUBPROTOCOL]) as socket:  # type: ignore[list-item]
        await socket.send('{"type":"hello"}')
        welcome = json.loads(await socket.recv())
        settings = {"output": "alpha", "quality": 37}
        await socket.send(json.dumps({"type": "update_viz", "settings": settings}))
        await socket.send('{"type":"change_mode","model_mode":"person-wide"}')
        while json.loads(await socket.recv())["type"] != "mode_changed":
            pass  # the mode may have to be loaded
        await socket.send('{"type":"get_stats"}')  # its answer comes after the writes, too
        while json.loads(await socket.recv())["type"] != "stats":
            pass
        doomed.replica("ingress").send_signal(signal.SIGKILL)
        await socket.wait_closed()
        assert socket.close_code == 1006
    hello = {
        "type": "hello",
        "resume": {
            "session": welcome["session"],
            "token": welcome["resume_token"],
            "last_seq": 0,
            "last_control": 3,
        },
    }
    back = await greeted_again(doomed, json.dumps(hello))
    assert back["resumed"] is False
    assert back["why"].endswith("; mode and view were kept")
    assert back["mode"] == "person-wide"
    assert settings.items() <= back["viz"].items()
    assert doomed.said().count("Traceback") == tracebacks
    wait_until(lambda: len(doomed.ended()) == lines + 1, "the one that came back has left")


async def greeted_again(app: ServeApp, hello: str) -> dict[str, Any]:
    """The welcome of the first replica that answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(OSError, WebSocketException, TimeoutError):
                async with connect(app.ws, subprotocols=[SUBPROTOCOL]) as socket:  # type: ignore[list-item]
                    await socket.send(hello)
                    answer: dict[str, Any] = json.loads(await socket.recv())
                    return answer
            await asyncio.sleep(0.2)  # as a client that is not let in does


@pytest.mark.timeout(120)
async def test_a_shutdown_says_goodbye_too(doomed: ServeApp, picture: bytes) -> None:
    said, tracebacks = len(ends(doomed, "server_shutdown")), doomed.said().count("Traceback")
    crowd = [Bystander(doomed, picture, seed) for seed in range(8)]
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE_S):
        goodbyes = [tasks.create_task(bystander.let_go()) for bystander in crowd]
        await asyncio.gather(*(bystander.streams.wait() for bystander in crowd))
        await asyncio.to_thread(doomed.server.stop)
    assert {task.result().reason for task in goodbyes} == {"server_shutdown"}
    assert {bystander.code for bystander in crowd} == {1012}
    assert not doomed.server.running
    assert len(ends(doomed, "server_shutdown")) == said + len(crowd)
    assert doomed.said().count("Traceback") == tracebacks
