"""Opening a connection, and every way in which that does not work."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from client.dial import Opened, dial
from client.outcomes import Closed, NoReply, Refused, StreamError, Unreachable
from ingress.wire.replies import Error, ServerPing
from ingress.wire.requests import Hello
from ingress.wire.words import SUBPROTOCOL, ErrorCode
from tests.certificate import self_signed
from tests.client.fake_server import FakeServer, Peer, welcome

HELLO = Hello(type="hello", client="robot 2", token="secret")


async def greeted(url: str, timeout_s: float = 10.0) -> Opened:
    return await dial(url, HELLO, timeout_s)


async def wait(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def test_a_connection_is_opened_by_one_hello_and_one_welcome(server: FakeServer) -> None:
    greeting = welcome(max_in_flight=7, resume_token="t1")
    peer, dialling = await said_hello(server)
    assert peer.socket.subprotocol == SUBPROTOCOL
    await peer.say(greeting)
    opened = await dialling
    assert opened.welcome == greeting
    await peer.say(ServerPing(t=1))
    assert "ping" in await opened.socket.recv()  # what follows the welcome is not read by dial
    await opened.socket.close()


async def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=f"cannot connect to ws://127.0.0.1:{port}/ws"):
            await greeted(f"ws://127.0.0.1:{port}/ws")


@pytest.mark.parametrize("url", ["http://127.0.0.1/ws", "nonsense", "ws://"])
async def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    with pytest.raises(Unreachable, match="not an address like ws://host:port/ws"):
        await greeted(url)


async def test_an_http_error_is_named() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.NOT_FOUND, "no such thing\n")

    async with serve(wait, "127.0.0.1", 0, process_request=refuse) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(Unreachable, match="HTTP status 404"):
            await greeted(f"ws://127.0.0.1:{port}/ws")


async def test_a_server_of_another_protocol_is_unreachable() -> None:
    async with serve(wait, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(Unreachable, match=r"does not speak segstream\.v1"):
            await greeted(f"ws://127.0.0.1:{port}/ws")


async def test_what_is_no_websocket_server_is_unreachable() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await greeted(f"ws://127.0.0.1:{port}/ws")


async def test_a_certificate_that_nobody_vouches_for_is_no_riddle(tmp_path: Path) -> None:
    files = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    async with serve(wait, "127.0.0.1", 0, ssl=context) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(Unreachable, match=r"cannot be trusted \(self.signed .*SSL_CERT_FILE"):
            await greeted(f"wss://127.0.0.1:{port}/ws")


async def test_a_server_that_never_answers_the_handshake_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(Unreachable, match=r"no answer within 0\.05 s"):
            await greeted(f"ws://127.0.0.1:{port}/ws", timeout_s=0.05)


async def said_hello(
    server: FakeServer, timeout_s: float = 10.0
) -> tuple[Peer, asyncio.Task[Opened]]:
    """A client that tries to come in, and the server's end of it, after its hello."""
    dialling = asyncio.create_task(greeted(server.url, timeout_s))
    peer = await server.stranger()
    assert await peer.hear(Hello) == HELLO
    return peer, dialling


async def test_an_error_instead_of_a_welcome_is_a_refusal(server: FakeServer) -> None:
    peer, dialling = await said_hello(server)
    await peer.say(Error(code=ErrorCode.UNAUTHORIZED, message="no token", recoverable=False))
    with pytest.raises(Refused, match="no token") as caught:
        await dialling
    assert caught.value.code is ErrorCode.UNAUTHORIZED


async def test_a_close_instead_of_a_welcome_has_its_code(server: FakeServer) -> None:
    peer, dialling = await said_hello(server)
    await peer.socket.close(1013, "overloaded")
    with pytest.raises(Closed) as caught:
        await dialling
    assert (caught.value.end.code, caught.value.end.reason) == (1013, "overloaded")


async def test_silence_instead_of_a_welcome_is_no_reply(server: FakeServer) -> None:
    _, dialling = await said_hello(server, timeout_s=0.2)
    with pytest.raises(NoReply, match=r"did not answer hello within 0\.2 s"):
        await dialling


@pytest.mark.parametrize("greeting", ["{", '{"type":"news"}', b"\x00\xff", '{"type":"ping","t":1}'])
async def test_another_greeting_is_not_understood(
    server: FakeServer, greeting: str | bytes
) -> None:
    peer, dialling = await said_hello(server)
    await peer.socket.send(greeting)
    with pytest.raises(Unreachable):
        await dialling


async def test_a_failed_greeting_leaves_no_connection_behind(server: FakeServer) -> None:
    peer, dialling = await said_hello(server)
    await peer.say(ServerPing(t=1))
    with pytest.raises(StreamError):
        await dialling
    await peer.socket.wait_closed()


async def test_a_connection_lost_instead_of_a_welcome_is_1006(server: FakeServer) -> None:
    peer, dialling = await said_hello(server)
    peer.cut()
    with pytest.raises(Closed) as caught:
        await dialling
    assert (caught.value.end.code, caught.value.end.reason) == (1006, "connection lost")


async def test_a_failed_greeting_is_cut_because_a_close_would_end_a_session(
    server: FakeServer,
) -> None:
    peer, dialling = await said_hello(server)
    dialling.cancel()
    await peer.socket.wait_closed()
    assert peer.socket.close_code == 1006
    with pytest.raises(asyncio.CancelledError):
        await dialling


@pytest.mark.parametrize(
    ("status", "code"), [(401, "UNAUTHORIZED"), (429, "RATE_LIMITED"), (503, "OVERLOADED")]
)
async def test_a_refusal_before_the_handshake_is_said_in_the_servers_words(
    status: int, code: str
) -> None:
    body = json.dumps({"error": {"code": code, "message": "not now"}})

    def refuse(connection: ServerConnection, _: Request) -> Response:
        return connection.respond(HTTPStatus(status), body)

    async with serve(wait, "127.0.0.1", 0, process_request=refuse) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        with pytest.raises(Refused, match="not now") as caught:
            await greeted(f"ws://127.0.0.1:{port}/ws")
    assert caught.value.code == code
