"""Clients that leave in the middle of a frame."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import pytest
from websockets.asyncio.client import connect

from tests.integration.pictures import astronaut, jpeg
from tests.integration.v1_client import v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

LEAVERS = 200
AT_ONCE = 8


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
    accepted = server.metric("segstream_ws_connections_total")
    ended = server.metric("segstream_ws_disconnects_total")
    lines, said = len(server.ended()), len(server.log())
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
    new = server.ended(since=lines)
    assert len(new) == LEAVERS
    sessions = [line.split("session ")[1].split()[0] for line in new]
    assert len(set(sessions)) == LEAVERS
    assert "Traceback" not in server.log()[said:]
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
