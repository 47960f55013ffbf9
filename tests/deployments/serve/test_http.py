"""The patient HTTP under a real uvicorn: heads that drip or never come, answers nobody takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from deployments.serve.equipment import equip, kit_for
from ingress.settings import Http, IngressSettings, SessionLimits
from tests.deployments.serve.test_websocket import until

HEAD_S = PATIENCE_S = 0.5
PROTOCOLS = ("h11", "httptools")


@asynccontextmanager
async def uvicorn_with(http: str, answer_bytes: int = 2) -> AsyncIterator[uvicorn.Server]:
    """An app that answers everything at once."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        headers = [(b"content-length", str(answer_bytes).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for left in range(answer_bytes, 0, -65_536):
            piece = b"x" * min(left, 65_536)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 65_536})

    config = uvicorn.Config(
        app, port=0, lifespan="off", log_level="critical", http=http, timeout_keep_alive=60
    )
    settings = IngressSettings(
        http=Http(head_timeout_s=HEAD_S), limits=SessionLimits(send_timeout_s=PATIENCE_S)
    )
    equip(config, kit_for(settings, in_replica=True, since=1))
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await serving


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


async def alone(server: uvicorn.Server) -> None:
    """Return once the server has no connection and no task of one."""
    state = server.server_state
    await until(lambda: not state.connections and not state.tasks)


@pytest.mark.parametrize("http", PROTOCOLS)
async def test_hundreds_of_silent_sockets_are_let_go_and_keep_nobody_out(http: str) -> None:
    async with uvicorn_with(http) as server:
        loop = asyncio.get_running_loop()
        with ExitStack() as sockets:
            for _ in range(500):
                silent = sockets.enter_context(
                    socket.create_connection(("127.0.0.1", port_of(server)))
                )
                silent.setblocking(False)
            began = loop.time()
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"xx")
            assert loop.time() - began < 2
            writer.close()
            await alone(server)
            assert silent.recv(100) == b""


@pytest.mark.parametrize("http", PROTOCOLS)
@pytest.mark.parametrize("handshake", [False, True])
async def test_a_head_that_drips_is_told_so_when_its_time_is_up(http: str, handshake: bool) -> None:
    head = b"GET / HTTP/1.1\r\nhost: a\r\n"
    if handshake:
        head += b"upgrade: websocket\r\nconnection: upgrade\r\n"
    async with uvicorn_with(http) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(head)

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(HEAD_S / 10)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(10 * HEAD_S):
            said = await reader.read()
        dripping.cancel()
        assert said.startswith(b"HTTP/1.1 408")
        await alone(server)
        writer.close()


@pytest.mark.parametrize("http", PROTOCOLS)
async def test_an_idle_connection_may_ask_again_and_a_second_head_must_not_drip(http: str) -> None:
    async with uvicorn_with(http) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            async with asyncio.timeout(5):
                assert b"xx" in await reader.readuntil(b"xx")
            await asyncio.sleep(2 * HEAD_S)  # the time between two requests is uvicorn's own
        writer.write(b"GET / HT")
        async with asyncio.timeout(10 * HEAD_S):
            assert await reader.read() == b""
        await alone(server)
        writer.close()


@pytest.mark.parametrize("http", PROTOCOLS)
async def test_an_answer_that_nobody_takes_is_cut_and_a_slow_reader_lives(http: str) -> None:
    async with uvicorn_with(http, answer_bytes=30_000_000) as server:
        request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port_of(server))) as deaf:
            deaf.sendall(request)
            await until(lambda: bool(server.server_state.tasks))
            await alone(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server), limit=4096)
        writer.write(request)
        read = rested_at = 0
        async with asyncio.timeout(60):
            while chunk := await reader.read(1_000_000):
                read += len(chunk)
                if read - rested_at > 2_000_000:
                    rested_at = read
                    await asyncio.sleep(PATIENCE_S / 5)
        assert read > 30_000_000
        writer.close()
        await alone(server)
