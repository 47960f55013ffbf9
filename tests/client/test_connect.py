"""Opening a session, and every way in which that does not work."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from client import Closed, NoReply, Refused, StreamError, Unreachable, connect
from ingress.wire.replies import Error, ServerPing
from ingress.wire.requests import Hello
from ingress.wire.words import ErrorCode
from tests.client.fake_server import FakeServer, Peer, welcome


async def attempt(url: str, timeout_s: float = 10.0) -> None:
    async with connect(url, timeout_s=timeout_s):
        raise AssertionError("connected")


async def wait(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def test_hello_names_the_client_and_carries_its_token(server: FakeServer) -> None:
    async def accept() -> Hello:
        return await (await server.stranger()).greet(welcome())

    accepting = asyncio.create_task(accept())
    async with connect(server.url, client="robot 2", token="secret") as stream:
        hello = await accepting
        assert (hello.client, hello.token, hello.resume) == ("robot 2", "secret", None)
        assert stream.welcome == welcome()
        assert (stream.mode, stream.viz) == ("person", {"output": "overlay"})


@pytest.mark.parametrize(("mine", "theirs", "limit"), [(None, 4, 4), (2, 4, 2), (9, 4, 4)])
async def test_frames_in_flight_are_the_smaller_of_both_limits(
    server: FakeServer, mine: int | None, theirs: int, limit: int
) -> None:
    accepting = asyncio.create_task(server.peer(welcome(max_in_flight=theirs)))
    async with connect(server.url, max_in_flight=mine) as stream:
        await accepting
        for _ in range(limit):
            await stream.send(b"1")
        one_more = asyncio.create_task(stream.send(b"1"))
        await asyncio.sleep(0)
        assert not one_more.done()
        one_more.cancel()


async def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"cannot connect to ws://127.0.0.1:{port}/ws"):
            await attempt(f"ws://127.0.0.1:{port}/ws")


@pytest.mark.parametrize("url", ["http://127.0.0.1/ws", "nonsense", "ws://"])
async def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable, match="not an address like ws://host:port/ws"):
        await attempt(url)


async def test_an_http_error_is_named() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "no such thing\n")

    async with serve(wait, "127.0.0.1", 0, process_request=refuse) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(Unreachable, match="HTTP status 404"):
            await attempt(f"ws://127.0.0.1:{port}/ws")


async def test_a_server_of_another_protocol_is_unreachable() -> None:
    async with serve(wait, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(Unreachable, match=r"does not speak segstream\.v1"):
            await attempt(f"ws://127.0.0.1:{port}/ws")


async def test_what_is_no_websocket_server_is_unreachable() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await attempt(f"ws://127.0.0.1:{port}/ws")


async def test_a_server_that_never_answers_the_handshake_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(Unreachable, match=r"no answer within 0\.05 s"):
            await attempt(f"ws://127.0.0.1:{port}/ws", timeout_s=0.05)


async def failure(server: FakeServer, timeout_s: float = 10.0) -> tuple[Peer, asyncio.Task[None]]:
    """A client that tries to come in, and the server's end of it, after its hello."""
    trying = asyncio.create_task(attempt(server.url, timeout_s))
    peer = await server.stranger()
    await peer.hear(Hello)
    return peer, trying


async def test_an_error_instead_of_a_welcome_is_a_refusal(server: FakeServer) -> None:
    peer, trying = await failure(server)
    await peer.say(Error(code=ErrorCode.UNAUTHORIZED, message="no token", recoverable=False))
    with pytest.raises(Refused, match="no token") as caught:
        await trying
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_a_close_instead_of_a_welcome_has_its_code(server: FakeServer) -> None:
    peer, trying = await failure(server)
    await peer.socket.close(1013, "overloaded")
    with pytest.raises(Closed) as caught:
        await trying
    assert (caught.value.end.code, caught.value.end.reason) == (1013, "overloaded")


async def test_silence_instead_of_a_welcome_is_no_reply(server: FakeServer) -> None:
    _, trying = await failure(server, timeout_s=0.2)
    with pytest.raises(NoReply, match=r"did not answer hello within 0\.2 s"):
        await trying


@pytest.mark.parametrize("greeting", ["{", '{"type":"news"}', b"\x00\xff", '{"type":"ping","t":1}'])
async def test_another_greeting_is_not_understood(
    server: FakeServer, greeting: str | bytes
) -> None:
    peer, trying = await failure(server)
    await peer.socket.send(greeting)
    with pytest.raises(Unreachable):
        await trying


async def test_a_failed_greeting_leaves_no_connection_behind(server: FakeServer) -> None:
    peer, trying = await failure(server)
    await peer.say(ServerPing(t=1))
    with pytest.raises(StreamError):
        await trying
    await peer.socket.wait_closed()
