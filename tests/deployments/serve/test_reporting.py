"""What the proxy's WebSocket and the app tell each other, under a real uvicorn."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Send

from ingress.door.transport import MESSAGE_BYTES, READ, REPORT_EVERY_BYTES, TAKEN, WINDOW_BYTES
from tests.deployments.serve.test_websocket import SLACK_S, client_of, until, uvicorn_with
from tests.faults.raw_client import TEXT, wire


async def test_the_proxy_tells_the_app_what_the_client_took() -> None:
    """The same number that the app sent, however late; nothing of it in the replica's own."""
    count = 4

    async def send_and_count(receive: Receive, send: Send) -> None:
        for _ in range(count):
            await send({"type": "websocket.send", "bytes": bytes(REPORT_EVERY_BYTES)})
        while TAKEN not in (message := await receive()) or message[TAKEN] < count << 18:
            pass

    async with uvicorn_with(send_and_count, in_replica=False) as peer:
        with await client_of(peer) as client:
            for _ in range(count):
                await asyncio.to_thread(client.read)
            await peer.ends()
    assert TAKEN in peer.scope["extensions"]
    taken = [m[TAKEN] for m in peer.seen if TAKEN in m]
    assert taken == [n * REPORT_EVERY_BYTES for n in range(1, count + 1)]


async def test_the_replicas_own_socket_reports_nothing() -> None:
    async def send_some(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send", "bytes": bytes(REPORT_EVERY_BYTES)})

    async with uvicorn_with(send_some) as peer:
        with await client_of(peer) as client:
            await asyncio.to_thread(client.read)
            await peer.ends()
    assert TAKEN not in peer.scope["extensions"]
    assert all(TAKEN not in message for message in peer.seen)


async def test_what_the_app_has_not_read_is_not_passed_on() -> None:
    """Small messages weigh, too; with room again what waited comes, in order."""
    count = 3 * WINDOW_BYTES // MESSAGE_BYTES
    weight = MESSAGE_BYTES + 4
    fit = -(-WINDOW_BYTES // weight)
    seen: list[str] = []
    goes_on = asyncio.Event()

    async def read_unsaid(receive: Receive, send: Send) -> None:
        async def pump() -> None:  # as Serve's proxy does
            while (message := await receive())["type"] != "websocket.disconnect":
                seen.append(message["text"])

        pumping = asyncio.create_task(pump())
        await goes_on.wait()
        half = fit // 2 + 1
        await send({"type": "websocket.send", READ: (half - 1) * weight})
        await asyncio.sleep(0.1)  # nothing is to happen in it
        assert len(seen) == fit
        await send({"type": "websocket.send", READ: half * weight})
        await until(lambda: len(seen) == fit + half)
        await send({"type": "websocket.send", READ: count * weight, "text": "all"})
        await pumping

    limits = {"small_frames_per_s": 1e6, "small_frames_burst": 1e6, "send_timeout_s": SLACK_S}
    async with uvicorn_with(read_unsaid, in_replica=False, limits=limits, tells=False) as peer:
        with await client_of(peer) as client:
            burst = b"".join(wire(TEXT, b"%04d" % number) for number in range(count))
            await asyncio.to_thread(client.put, burst)
            await until(lambda: len(seen) >= fit)
            await asyncio.sleep(0.1)  # nothing is to happen in it
            assert len(seen) == fit
            goes_on.set()
            assert await asyncio.to_thread(client.read) == (TEXT, b"all"), (
                "READ goes to nobody else"
            )
        await peer.ends()
    assert READ in peer.scope["extensions"]
    assert seen == [f"{number:04}" for number in range(count)]


async def test_an_end_does_not_wait_for_room() -> None:
    async def never_told(receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with uvicorn_with(never_told, in_replica=False, tells=False) as peer:
        with await client_of(peer) as client:
            await asyncio.to_thread(client.put, wire(TEXT, b"x" * (WINDOW_BYTES + 1)))
            await until(lambda: len(peer.seen) == 2)
            await asyncio.to_thread(client.put, wire(TEXT, b"waits"))
            await asyncio.to_thread(client.close, 1000)
            assert len(await peer.ends()) == 1
            assert peer.seen[2]["text"] == "waits"


async def test_a_peer_that_sends_before_it_reads_is_read() -> None:
    """What waits for it to take stands in the way of nothing that it says."""
    count = 3 * WINDOW_BYTES // 60_000

    async def answer_and_read(receive: Receive, send: Send) -> None:
        for _ in range(8):
            await send({"type": "websocket.send", "bytes": bytes(1_000_000)})
        for _ in range(count):
            await receive()
        await send({"type": "websocket.close", "code": 1000})

    limits = {"send_timeout_s": SLACK_S}
    async with uvicorn_with(answer_and_read, in_replica=False, limits=limits) as peer:
        with await client_of(peer) as client:
            burst = wire(TEXT, b"x" * 60_000) * count
            await asyncio.to_thread(client.put, burst)
            sizes = [len((await asyncio.to_thread(client.read))[1]) for _ in range(8)]
            assert sizes == [1_000_000] * 8, "all of it comes, and before the end"
            await peer.ends()
