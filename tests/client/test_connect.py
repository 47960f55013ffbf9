"""A stream over one connection: what it is opened with, and that a failed one is none."""

from __future__ import annotations

import asyncio

import pytest

from client import Refused, connect
from ingress.wire.replies import Error
from ingress.wire.requests import Hello
from ingress.wire.words import ErrorCode
from tests.client.fake_server import FakeServer, welcome


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


async def test_a_server_that_does_not_welcome_gives_no_stream(server: FakeServer) -> None:
    async def refuse() -> None:
        await (await server.stranger()).greet(Error(code=ErrorCode.OVERLOADED, message="full"))

    before = asyncio.all_tasks()
    refusing = asyncio.create_task(refuse())
    with pytest.raises(Refused, match="full"):
        async with connect(server.url):
            raise AssertionError("connected")
    await refusing
    assert not [task for task in asyncio.all_tasks() - before if task.get_name() == "stream"]
