"""The patient WebSocket under a real uvicorn: stalls, silence, farewells, reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from deployments.serve.equipment import equip, kit_for
from deployments.serve.websocket import PatientWebSocket
from ingress.door.transport import ENDED, MESSAGE_BYTES, READ
from ingress.settings import IngressSettings, Keepalive, SessionLimits
from tests.faults.raw_client import RawClient, Seen

PATIENCE_S = 0.5
SLACK_S = 5.0

Behaviour = Callable[[Receive, Send], Awaitable[None]]


async def until(met: Callable[[], bool]) -> None:
    """Return once ``met``; uvicorn has no event for it."""
    deadline = asyncio.get_running_loop().time() + SLACK_S
    while not met():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


class Peer:
    """What an app saw, and the server that it ran in."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Message] = []
        self.scope: Scope = {}
        self.done = asyncio.Event()
        self.server: uvicorn.Server

    async def ends(self) -> list[Message]:
        """The ends that the app was told, once it is done."""
        async with asyncio.timeout(SLACK_S):
            await self.done.wait()
        return [m for m in self.seen if m["type"] == "websocket.disconnect"]

    async def alone(self) -> None:
        """Return once the server has no connection and no task of one."""
        state = self.server.server_state
        await until(lambda: not state.connections and not state.tasks)


@asynccontextmanager
async def uvicorn_with(
    behave: Behaviour,
    *,
    in_replica: bool = True,
    ping_s: float = 60,
    limits: Mapping[str, float] | None = None,
    tells: bool = True,
) -> AsyncIterator[Peer]:
    """An app on our WebSocket; it accepts, then does ``behave``.

    It ``tells`` a proxy's what it has read, as ours does.
    """
    peer = Peer()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        peer.scope = scope
        read = 0

        async def noted() -> Message:
            nonlocal read
            message = await receive()
            peer.seen.append(message)
            said = message.get("text", message.get("bytes"))
            if tells and not in_replica and said is not None:
                read += MESSAGE_BYTES + len(said)
                await send({"type": "websocket.send", READ: read})
            return message

        await noted()
        await send({"type": "websocket.accept"})
        try:
            await behave(noted, send)
        finally:
            peer.done.set()

    config = uvicorn.Config(app, port=0, lifespan="off", log_level="critical")
    settings = IngressSettings(
        keepalive=Keepalive(heartbeat_s=ping_s, timeout_s=ping_s),
        limits=SessionLimits.model_validate(
            {"send_timeout_s": PATIENCE_S, "hello_timeout_s": 2 * ping_s, **(limits or {})}
        ),
    )
    equip(config, kit_for(settings, in_replica=in_replica, since=1))
    peer.server = uvicorn.Server(config)
    serving = asyncio.create_task(peer.server.serve())
    await until(lambda: peer.server.started)
    peer.port = peer.server.servers[0].sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        peer.server.should_exit = True
        await serving


async def client_of(peer: Peer) -> RawClient:
    """A connected client that does not read, with the smallest of buffers."""
    return await asyncio.to_thread(RawClient, peer.port, receive_buffer=4096, greet=False)


async def flood(receive: Receive, send: Send) -> None:
    """Send for ever; read beside it, as a session does."""

    async def read() -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def write() -> None:
        while True:
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            await asyncio.sleep(0)  # what is dropped waits for nothing

    reader, writer = asyncio.create_task(read()), asyncio.create_task(write())
    await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
    await reader
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)


@pytest.mark.parametrize("in_replica", [True, False])
async def test_a_reader_that_stalls_is_a_slow_consumer_and_its_socket_goes(
    in_replica: bool,
) -> None:
    async with uvicorn_with(flood, in_replica=in_replica) as peer:
        with await client_of(peer):
            first = (await peer.ends())[0]
            assert (first[ENDED], first["code"]) == ("slow_consumer", 1006)
            await peer.alone()


async def test_a_peer_that_answers_no_ping_is_told_4201() -> None:
    async def listen(receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with uvicorn_with(listen, ping_s=0.2) as peer:
        with await client_of(peer) as client:
            assert (await peer.ends())[0][ENDED] == "keepalive_timeout"
            assert await asyncio.to_thread(client.end) == Seen(
                4201, "no ping was answered within 0.2 s"
            )
            await peer.alone()


async def test_a_socket_that_never_empties_is_gone_after_the_app() -> None:
    """Below the mark at which writing pauses, uvicorn's close would wait for ever."""

    async def fill(receive: Receive, send: Send) -> None:
        (protocol,) = peer.server.server_state.connections
        assert isinstance(protocol, PatientWebSocket)
        protocol.transport.set_write_buffer_limits(high=1 << 30)
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
        await send({"type": "websocket.close", "code": 1000})

    async with uvicorn_with(fill) as peer:
        with await client_of(peer):
            await peer.ends()
            await peer.alone()


async def test_what_is_sent_between_the_last_ping_and_the_loss_is_dropped() -> None:
    """uvicorn counts itself closed, the buffer is full, and a result comes from the replica."""
    late: list[BaseException | None] = []

    async def answer_late(receive: Receive, send: Send) -> None:
        (protocol,) = peer.server.server_state.connections
        assert isinstance(protocol, PatientWebSocket)
        protocol.transport.set_write_buffer_limits(high=1 << 30)
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        assert not protocol.disconnected, "the buffer holds it"
        result: Message = {"type": "websocket.send", "text": "a result"}
        ways: tuple[Any, ...] = (protocol.send, send)  # uvicorn's own, and through the middleware
        for way in ways:
            late.extend(await asyncio.gather(way(result), return_exceptions=True))

    async with uvicorn_with(answer_late, in_replica=False, ping_s=0.2) as peer:
        with await client_of(peer):
            await peer.ends()
            await peer.alone()
    bare, dropped = late
    assert type(bare) is RuntimeError, "uvicorn says it otherwise now"
    assert dropped is None


@pytest.mark.parametrize("in_replica", [True, False])
async def test_a_replicas_server_that_closes_its_port_keeps_its_connections(
    in_replica: bool,
) -> None:
    drained = asyncio.Event()

    async def live(receive: Receive, send: Send) -> None:
        await drained.wait()
        await send({"type": "websocket.close", "code": 1001})

    async with uvicorn_with(live, in_replica=in_replica) as peer:
        with await client_of(peer) as client:
            peer.server.should_exit = True
            await until(lambda: not peer.server.servers[0].is_serving())
            if not in_replica:
                assert (await asyncio.to_thread(client.end)).code == 1012
            drained.set()
            if in_replica:
                assert (await asyncio.to_thread(client.end)).code == 1001


async def test_a_close_frame_has_its_answer_though_the_port_closes_meanwhile() -> None:
    """Else the socket is reset under a client that streams, which has read neither bye nor code."""

    async def leave(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close", "code": 1012})

    async with uvicorn_with(leave) as peer:
        with await client_of(peer) as client:
            await peer.ends()
            (protocol,) = peer.server.server_state.connections
            peer.server.should_exit = True
            await until(lambda: not peer.server.servers[0].is_serving())
            assert not protocol.transport.is_closing(), "the peer has not answered"
            client.close(1012)
            await peer.alone()
            assert (await asyncio.to_thread(client.end)).code == 1012
