"""Clients that leave in the middle of a frame, or are made to leave."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
import time

import pytest
from websockets.asyncio.client import connect

from tests.integration.pictures import astronaut, jpeg
from tests.integration.v1_client import v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

LEAVERS = 200
AT_ONCE = 8
HTTP_LEAVERS = 90
RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: close() sends RST, not FIN


async def leave_plain(server: ServeApp, frame: str, *, abruptly: bool) -> None:
    async with connect(server.ws, max_size=None) as socket:
        await socket.recv()
        await socket.send(frame)
        if abruptly:
            socket.transport.abort()


async def leave_v1(server: ServeApp, picture: bytes, *, abruptly: bool) -> None:
    async with v1(server.ws) as client:
        await client.send(picture)
        if abruptly:
            client.socket.transport.abort()


async def until_balanced(server: ServeApp, disconnects: float) -> None:
    """Wait until that many disconnects are counted and no connection is open."""
    deadline = time.monotonic() + 60
    while (
        server.metric("segstream_ws_disconnects_total") < disconnects
        or server.metric("segstream_ws_connections_now") > 0
    ):
        assert time.monotonic() < deadline, "connections are left, or were lost from the count"
        await asyncio.sleep(0.1)  # the condition is in another process


@pytest.mark.timeout(180)
async def test_200_clients_that_leave_in_mid_frame_cost_one_line_each_and_no_traceback(
    server: ServeApp,
) -> None:
    picture = jpeg(astronaut())
    frame = json.dumps({"type": "frame", "data": base64.b64encode(picture).decode()})
    await until_balanced(server, 0)  # those of the tests before may still be on their way out
    accepted = server.metric("segstream_ws_connections_total")
    ended = server.metric("segstream_ws_disconnects_total")
    lines = len(server.ended())
    gate = asyncio.Semaphore(AT_ONCE)

    async def leave(number: int) -> None:
        async with gate:
            if number % 2:
                await leave_plain(server, frame, abruptly=number % 4 == 1)
            else:
                await leave_v1(server, picture, abruptly=number % 4 == 0)

    await asyncio.gather(*map(leave, range(LEAVERS)))
    await until_balanced(server, ended + LEAVERS)

    assert server.metric("segstream_ws_connections_total") == accepted + LEAVERS
    assert server.metric("segstream_ws_disconnects_total") == ended + LEAVERS
    assert accepted == ended, "all that were accepted before have ended, too"
    new = server.ended(since=lines)
    assert len(new) == LEAVERS
    sessions = [line.split("session ")[1].split()[0] for line in new]
    assert len(set(sessions)) == LEAVERS
    assert "Traceback" not in server.log()
    assert server.metric("segstream_unhandled_exceptions_total") == 0
    async with v1(server.ws) as client:
        assert (await client.mask(picture)).payload


async def test_a_close_and_a_loss_are_told_apart(server: ServeApp) -> None:
    def count(reason: str) -> float:
        return server.metric("segstream_ws_disconnects_total", reason=reason)

    before = {reason: count(reason) for reason in ("client_close", "connection_lost")}
    total = server.metric("segstream_ws_disconnects_total")
    async with connect(server.ws) as closing:
        await closing.recv()
    async with connect(server.ws) as lost:
        await lost.recv()
        lost.transport.abort()
    await until_balanced(server, total + 2)
    assert count("client_close") == before["client_close"] + 1
    assert count("connection_lost") == before["connection_lost"] + 1


def masked(opcode: int, payload: bytes, declared: int | None = None) -> bytes:
    """A final WebSocket frame under a mask of zeros (RFC 6455 section 5.2)."""
    length = len(payload) if declared is None else declared
    return bytes([0x80 | opcode, 0xFF]) + struct.pack(">Q", length) + bytes(4) + payload


BROKEN = {
    "text that is not UTF-8": (masked(1, b"\xff\xfe"), 1007, "protocol_error"),
    "an opcode that is reserved": (masked(3, b""), 1002, "protocol_error"),
    "a message of 25 MiB": (masked(2, b"", declared=25 * 2**20), 1009, "message_too_big"),
    "bad messages without end": (masked(1, b"nope") * 150, 1008, "policy_violation"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_breaks_the_protocol_is_closed_with_its_code_and_counted(
    server: ServeApp, kind: str
) -> None:
    wire, code, reason = BROKEN[kind]
    before = server.metric("segstream_ws_disconnects_total", reason=reason)
    total = server.metric("segstream_ws_disconnects_total")
    async with connect(server.ws, max_queue=None) as client:
        client.transport.write(wire)
        await asyncio.wait_for(client.wait_closed(), timeout=30)
    assert client.close_code == code
    await until_balanced(server, total + 1)
    assert server.metric("segstream_ws_disconnects_total", reason=reason) == before + 1


async def leave_http(server: ServeApp, sent: bytes, *, abruptly: bool) -> None:
    """Send ``sent`` and go; what follows is never read."""
    host, port = server.http.split("/")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    if abruptly:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.write(sent)
    await writer.drain()
    await asyncio.sleep(0.02)  # the client's own pace: it leaves a request that has begun
    writer.close()


async def test_http_clients_that_leave_in_their_upload_cost_no_traceback(server: ServeApp) -> None:
    picture = jpeg(astronaut())
    head = b"POST /api/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    half = head % len(picture) + picture[: len(picture) // 2]
    for number in range(HTTP_LEAVERS):
        await leave_http(server, half, abruptly=number % 2 == 0)
    async with v1(server.ws) as client:
        assert (await client.mask(picture)).payload
    assert server.metric("segstream_unhandled_exceptions_total") == 0
    assert "Traceback" not in server.log()
