"""What a peer sends costs no more than it weighs: floods of a bare socket on a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from starlette.types import Message, Receive, Send

from deployments.serve.websocket import (
    PIECE_BYTES,
    SLICE_FRAMES,
    PatientWebSocket,
)
from ingress.door.transport import ENDED, PROGRESS
from ingress.settings import SessionLimits
from tests.deployments.serve.test_websocket import PATIENCE_S, Peer, client_of, until, uvicorn_with
from tests.faults.raw_client import BINARY, PING, PONG, TEXT, RawClient, wire

FIN = 0x80
LIMITS = SessionLimits()
SMALL_PER_S, SMALL_BURST = LIMITS.small_frames_per_s, LIMITS.small_frames_burst


async def listen(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


def unfinished(opcode: int, payload: bytes) -> bytes:
    """A frame that is not the last of its message."""
    whole = wire(opcode, payload)
    return bytes([whole[0] & ~FIN]) + whole[1:]


def protocol_of(peer: Peer) -> PatientWebSocket:
    (protocol,) = peer.server.server_state.connections
    assert isinstance(protocol, PatientWebSocket)
    return protocol


def pour(client: RawClient, flood: bytes) -> threading.Thread:
    """Send ``flood`` for as long as it is taken."""

    def run() -> None:
        try:
            while True:
                client.put(flood)
        except OSError:
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class Slices:
    """How many frames each turn of the loop parsed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        whole = PatientWebSocket._read_slice

        def counted(protocol: PatientWebSocket) -> None:
            whole(protocol)
            self.sizes.append(protocol._in_slice)

        monkeypatch.setattr(PatientWebSocket, "_read_slice", counted)


FLOODS = {
    "pings": wire(PING, b"x"),
    "pongs": wire(PONG, b""),
    "messages": wire(TEXT, b"{}"),
    "empty messages": wire(BINARY, b""),
}


@pytest.mark.parametrize("in_replica", [True, False])
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_small_frames_is_read_in_slices_and_at_a_rate(
    monkeypatch: pytest.MonkeyPatch, kind: str, in_replica: bool
) -> None:
    slices = Slices(monkeypatch)
    async with uvicorn_with(listen, in_replica=in_replica) as peer:
        with await client_of(peer) as client:
            began = time.monotonic()
            protocol = protocol_of(peer)
            pour(client, FLOODS[kind] * (256 * 1024 // len(FLOODS[kind])))
            await until(lambda: sum(slices.sizes) > SMALL_BURST)
            held: list[int] = []
            while time.monotonic() < began + 0.5:
                held.append(len(protocol._unread) + protocol.queue.qsize())
                await asyncio.sleep(0.01)
            taken_s, parsed = time.monotonic() - began, sum(slices.sizes)
            protocol.transport.abort()  # else what waits of the flood is read to its end
    most_in_a_piece = PIECE_BYTES // 6 + 1
    assert max(slices.sizes) < SLICE_FRAMES + most_in_a_piece
    assert parsed < SMALL_BURST + SMALL_PER_S * taken_s + SLICE_FRAMES + most_in_a_piece
    assert max(held) <= 512 * 1024


@pytest.mark.parametrize("in_replica", [True, False])
@pytest.mark.parametrize("payload", [b"", b"x"])
async def test_a_message_in_too_many_fragments_is_too_big(in_replica: bool, payload: bytes) -> None:
    fast = {"small_frames_per_s": 20_000}
    async with uvicorn_with(listen, in_replica=in_replica, limits=fast) as peer:
        with await client_of(peer) as client:
            client.put(unfinished(TEXT, payload))
            protocol = protocol_of(peer)
            pour(client, unfinished(0, payload) * 1000)
            most = 0
            end: Message | None = None
            while end is None:
                most = max(most, len(protocol.frames))
                await asyncio.sleep(0.01)
                end = next((m for m in peer.seen if m["type"] == "websocket.disconnect"), None)
            assert end["code"] == 1009
            assert most <= LIMITS.max_fragments
            assert protocol.frames == []
            await peer.alone()


async def test_a_message_in_many_fragments_arrives() -> None:
    async def one(receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.receive", "text": "x" * 2_000_001}
        assert await receive() == {"type": "websocket.receive", "text": "next"}

    async with uvicorn_with(one, limits={"small_frames_per_s": 20_000}) as peer:
        with await client_of(peer) as client:
            whole = unfinished(TEXT, b"x" * 1000) + unfinished(0, b"x" * 1000) * 1999
            await asyncio.to_thread(client.put, whole + wire(0, b"x") + wire(TEXT, b"next"))
            await peer.ends()


async def test_what_waits_behind_a_message_is_read_when_the_app_has_taken_it() -> None:
    seen: list[Message] = []

    async def slowly(receive: Receive, send: Send) -> None:
        while len(seen) < 500:
            await asyncio.sleep(0)
            seen.append(await receive())

    async with uvicorn_with(slowly) as peer:
        with await client_of(peer) as client:
            client.put(b"".join(wire(TEXT, str(n).encode()) for n in range(500)))
            await peer.ends()
    assert [m["text"] for m in seen] == [str(n) for n in range(500)]


@pytest.mark.parametrize("in_replica", [True, False])
async def test_a_steady_slow_reader_lives_and_one_that_stops_is_cut(in_replica: bool) -> None:
    size = 3_000_000

    async def overlays(receive: Receive, send: Send) -> None:
        sock = protocol_of(peer).transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        reading = asyncio.create_task(listen(receive, send))
        for _ in range(2):
            await send({"type": "websocket.send", "bytes": bytes(size)})
        await reading

    async with uvicorn_with(overlays, in_replica=in_replica) as peer:
        with await client_of(peer) as client:

            def read_slowly() -> float:
                began, taken = time.monotonic(), 0
                while taken < size:
                    taken += (got := len(client._socket.recv(20_000)))
                    time.sleep(4 * PATIENCE_S * got / size)
                return time.monotonic() - began

            took_s = await asyncio.to_thread(read_slowly)
            assert took_s > 3 * PATIENCE_S
            assert not [m for m in peer.seen if ENDED in m], "it read all the time"
            assert any(PROGRESS in m for m in peer.seen)
            stopped = time.monotonic()
            end = (await peer.ends())[0]
            assert end[ENDED] == "slow_consumer"
            assert time.monotonic() - stopped < 4 * PATIENCE_S
            await peer.alone()


DRIPS = {
    "one frame": wire(BINARY, bytes(200_000)),
    "a header alone": wire(BINARY, bytes(200_000))[:6] + b"x",
    "fragments": unfinished(TEXT, b"x" * 100) + unfinished(0, b"x") * 1000,
}


@pytest.mark.parametrize("in_replica", [True, False])
@pytest.mark.parametrize("kind", DRIPS)
async def test_who_drips_a_message_is_silent(kind: str, in_replica: bool) -> None:
    limits = {"message_bytes_per_s": 1000, "message_stall_s": 0.4}
    async with uvicorn_with(listen, in_replica=in_replica, limits=limits) as peer:
        with await client_of(peer) as client:
            for at in range(0, 3000, 2):
                if peer.done.is_set():
                    break
                client.put(DRIPS[kind][at : at + 2])
                await asyncio.sleep(0.02)
            (end,) = await peer.ends()
            assert (end[ENDED], end["code"]) == ("keepalive_timeout", 4201)
            await peer.alone()


@pytest.mark.parametrize("in_replica", [True, False])
async def test_who_sends_a_message_slowly_and_steadily_lives(in_replica: bool) -> None:
    seen: list[Message] = []

    async def one(receive: Receive, send: Send) -> None:
        seen.append(await receive())

    limits = {"message_bytes_per_s": 1000, "message_stall_s": 0.3}
    async with uvicorn_with(one, in_replica=in_replica, limits=limits) as peer:
        with await client_of(peer) as client:
            whole = wire(BINARY, bytes(10_000))
            for at in range(0, len(whole), 200):
                client.put(whole[at : at + 200])
                await asyncio.sleep(0.03)  # 1.5 s in all, five times the deadline
            await peer.ends()
    assert seen == [{"type": "websocket.receive", "bytes": bytes(10_000)}]


async def test_who_is_kept_waiting_by_the_app_is_not_slow() -> None:
    seen: list[Message] = []

    async def late(receive: Receive, send: Send) -> None:
        await asyncio.sleep(1)
        seen.append(await receive())
        await asyncio.sleep(1)
        seen.append(await receive())

    limits = {"message_bytes_per_s": 10_000, "message_stall_s": 0.3}
    async with uvicorn_with(late, limits=limits) as peer:
        with await client_of(peer) as client:
            second = wire(BINARY, bytes(2000))
            client.put(wire(TEXT, b"first") + second[:900])
            await asyncio.sleep(1.8)
            client.put(second[900:])
            await peer.ends()
    assert [m.get("text") or len(m["bytes"]) for m in seen] == ["first", 2000]


@pytest.mark.parametrize("in_replica", [True, False])
@pytest.mark.parametrize("fragments", [1, 20])
async def test_long_text_beyond_ascii_is_too_big_and_is_not_decoded(
    in_replica: bool, fragments: int
) -> None:
    async with uvicorn_with(listen, in_replica=in_replica) as peer:
        with await client_of(peer) as client:
            part = "\u6f22".encode() * (600_000 // fragments)
            parts = [
                unfinished(TEXT, part),
                *[unfinished(0, part)] * (fragments - 2),
                wire(0, part),
            ]
            flood = b"".join(parts) if fragments > 1 else wire(TEXT, part)
            await asyncio.to_thread(client.put, flood)
            (end,) = await peer.ends()
            assert end["code"] == 1009
            assert not [m for m in peer.seen if m.get("text")]


async def test_long_text_of_ascii_and_short_text_beyond_it_arrive() -> None:
    texts = ["x" * 3_000_000, "\u6f22" * 300_000]

    async def both(receive: Receive, send: Send) -> None:
        for text in texts:
            assert await receive() == {"type": "websocket.receive", "text": text}

    async with uvicorn_with(both) as peer:
        with await client_of(peer) as client:
            for text in texts:
                await asyncio.to_thread(client.put, wire(TEXT, text.encode()))
            await peer.ends()
    assert [m.get("text") for m in peer.seen[1:]] == texts


async def test_who_is_thrown_out_while_it_sends_hears_the_code() -> None:
    """What is unread when a socket is closed ends in a reset, and asyncio's clients see no more."""
    async with uvicorn_with(listen, limits={"max_fragments": 16}) as peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(unfinished(TEXT, b"x"))

        async def pour_on() -> None:
            while True:
                writer.write(100_000 * bytes([0x00, 0x80, 1, 2, 3, 4]))
                await writer.drain()

        pouring = asyncio.create_task(pour_on())
        async with asyncio.timeout(PATIENCE_S + 5):
            said = await reader.read()
        pouring.cancel()
        assert said[2:4] == (1009).to_bytes(2)
        writer.close()
        await peer.alone()
