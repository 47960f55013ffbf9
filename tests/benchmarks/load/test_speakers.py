"""What each speaker says and takes for an answer, against servers of one connection."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from benchmarks.load.speakers import V1, Binary, Http, NoAnswer, Original, Plain
from ingress.wire.pictures import Result, encode_result, parse_frame
from ingress.wire.words import SUBPROTOCOL
from tests.client.fake_server import DEADLINE_S, META

PICTURE = b"\xff\xd8jpeg"
Serve = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def serving(server: Serve, subprotocol: str | None = None) -> AsyncIterator[str]:
    """The address of a server that does ``server`` with each connection."""
    spoken = [Subprotocol(subprotocol)] if subprotocol else None
    async with serve(server, "127.0.0.1", 0, subprotocols=spoken) as listening:
        yield f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/ws"


def result(seq: int, frame_seq: int, captured_us: int = 0) -> bytes:
    return encode_result(Result(seq, frame_seq, captured_us, META, b"mask"))


# ------------------------------------------------------------------ v1


async def greet(socket: ServerConnection) -> None:
    assert json.loads(await socket.recv())["type"] == "hello"
    await socket.send('{"type":"welcome"}')
    assert json.loads(await socket.recv())["settings"] == {"output": "alpha"}
    await socket.send('{"type":"stats"}')
    await socket.send('{"type":"viz_updated","settings":{}}')


async def test_v1_asks_for_its_output_and_acknowledges_with_the_next_frame() -> None:
    acks = []

    async def server(socket: ServerConnection) -> None:
        await greet(socket)
        for seq in (1, 2):
            message = await socket.recv(decode=False)
            frame = parse_frame(message)
            assert (frame.seq, frame.image) == (seq, PICTURE)
            acks.append(frame.ack)
            await socket.send(result(seq + 6, seq))
        await socket.wait_closed()

    async with serving(server, SUBPROTOCOL) as url:
        speaker = await V1.dial(url, "alpha")
        for seq in (1, 2):
            assert await speaker.ask(PICTURE) == (20 + len(PICTURE), len(result(seq + 6, seq)))
        await speaker.leave()
    assert acks == [0, 7]


async def test_v1_sends_a_dropped_frame_again_and_answers_pings_meanwhile() -> None:
    heard: list[bytes | str] = []

    async def server(socket: ServerConnection) -> None:
        await greet(socket)
        heard.append(await socket.recv())
        await socket.send('{"type":"ping","t":4}')
        await socket.send('{"type":"dropped","frames":[1],"cause":"stale"}')
        heard.extend([await socket.recv(), await socket.recv()])
        await socket.send(result(1, 2, captured_us=9))
        await socket.wait_closed()

    async with serving(server, SUBPROTOCOL) as url:
        speaker = await V1.dial(url, "alpha")
        await speaker.ask(PICTURE)
        await speaker.leave()
    first, pong, again = heard
    assert isinstance(first, bytes)
    assert isinstance(again, bytes)
    assert (parse_frame(first).seq, parse_frame(again).seq) == (1, 2)
    assert json.loads(pong) == {"type": "pong", "t": 4}


async def test_v1_takes_an_error_for_no_answer() -> None:
    async def server(socket: ServerConnection) -> None:
        await greet(socket)
        await socket.recv()
        await socket.send('{"type":"error","code":"OVERLOADED"}')
        await socket.wait_closed()

    async with serving(server, SUBPROTOCOL) as url:
        speaker = await V1.dial(url, "alpha")
        with pytest.raises(NoAnswer, match="OVERLOADED"):
            await speaker.ask(PICTURE)
        await speaker.leave()


# ------------------------------------------------------------------ text and binary


@pytest.mark.parametrize(
    ("kind", "greeting", "key", "told_by"),
    [(Plain, '{"type":"connected"}', "data", "metadata"), (Original, None, "frame", "stats")],
)
async def test_text_carries_a_picture_in_base64_and_an_answer_has_its_word(
    kind: type[Plain | Original], greeting: str | None, key: str, told_by: str
) -> None:
    answers = [json.dumps({told_by: {}}), '{"type":"error"}']

    async def server(socket: ServerConnection) -> None:
        if greeting:
            await socket.send(greeting)
        for answer in answers:
            message = json.loads(await socket.recv())
            assert base64.b64decode(message[key]) == PICTURE
            await socket.send(answer)
        await socket.wait_closed()

    async with serving(server) as url:
        speaker = await kind.dial(url, "overlay")
        sent, received = await speaker.ask(PICTURE)
        assert sent > len(base64.b64encode(PICTURE))
        assert received == len(answers[0])
        with pytest.raises(NoAnswer, match="error"):
            await speaker.ask(PICTURE)
        await speaker.leave()


async def test_binary_is_a_picture_and_a_mask_and_text_is_no_answer() -> None:
    async def server(socket: ServerConnection) -> None:
        for answer in (b"mask", "busy"):
            assert await socket.recv() == PICTURE
            await socket.send(answer)
        await socket.wait_closed()

    async with serving(server) as url:
        speaker = await Binary.dial(url, "mask")
        assert await speaker.ask(PICTURE) == (len(PICTURE), 4)
        with pytest.raises(NoAnswer, match="busy"):
            await speaker.ask(PICTURE)
        await speaker.leave()


# ------------------------------------------------------------------ HTTP


ServeHttp = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving_http(server: ServeHttp) -> AsyncIterator[str]:
    """The address of a server of one connection, which is over when the block is left."""
    over = asyncio.Event()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()
            over.set()

    async with await asyncio.start_server(serve_one, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/predict"
        async with asyncio.timeout(DEADLINE_S):
            await over.wait()


def answering(*answers: bytes) -> AbstractAsyncContextManager[str]:
    """A server that checks each request, and is done when the client has left."""

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"POST /predict HTTP/1.1\r\n")
            assert b"\r\nContent-Length: %d\r\n" % len(PICTURE) in head
            assert await reader.readexactly(len(PICTURE)) == PICTURE
            writer.write(answer)
        await reader.read()

    return serving_http(server)


async def test_http_posts_on_one_connection_and_weighs_headers_too() -> None:
    answer = b"HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-LENGTH: 4\r\n\r\nmask"
    async with answering(answer, answer) as url:
        speaker = await Http.dial(url, "mask")
        for _ in range(2):
            sent, received = await speaker.ask(PICTURE)
            assert sent > len(PICTURE) + len("POST /predict HTTP/1.1")
            assert received == len(answer)
        await speaker.leave()


async def test_another_status_is_no_answer() -> None:
    busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    async with answering(busy) as url:
        speaker = await Http.dial(url, "mask")
        with pytest.raises(NoAnswer, match="503 service unavailable"):
            await speaker.ask(PICTURE)
        await speaker.leave()


async def test_a_connection_that_ends_in_an_answer_fails() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(PICTURE))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nma")

    async with serving_http(hang_up) as url:
        speaker = await Http.dial(url, "mask")
        with pytest.raises(asyncio.IncompleteReadError):
            await speaker.ask(PICTURE)
        await speaker.leave()
