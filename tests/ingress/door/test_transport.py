"""What Starlette, uvicorn and Serve raise, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from ingress.disconnects import Disconnect
from ingress.door.connection import TransportLost
from ingress.door.transport import (
    ENDED,
    MESSAGE_BYTES,
    READ,
    REPORT_EVERY_BYTES,
    TAKEN,
    WINDOW_BYTES,
    StarletteTransport,
)

Message = MutableMapping[str, Any]


class ProxyDied(Exception):
    """Stands for Ray's ActorDiedError."""


class Asgi:
    """An ASGI server's side: ``incoming`` is received, ``failing`` is raised by send."""

    def __init__(self, *incoming: Message | Exception) -> None:
        self.incoming = list(incoming)
        self.sent: list[Message] = []
        self.failing: Exception | None = None

    async def receive(self) -> Message:
        event = self.incoming.pop(0)
        if isinstance(event, Exception):
            raise event
        return event

    async def send(self, message: Message) -> None:
        if self.failing:
            raise self.failing
        self.sent.append(message)

    async def accepted(self, *extensions: str) -> StarletteTransport:
        self.incoming.insert(0, {"type": "websocket.connect"})
        scope = {"type": "websocket", "extensions": dict.fromkeys(extensions)}
        websocket = WebSocket(scope, self.receive, self.send)
        transport = StarletteTransport(websocket, infrastructure_errors=(ProxyDied,))
        await transport.accept("segstream.v1")
        return transport


async def test_messages_come_as_text_or_bytes_whichever_key_is_filled() -> None:
    asgi = Asgi(
        {"type": "websocket.receive", "text": "hi", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"\x00"},
        {"type": "websocket.receive", "bytes": b"x"},
    )
    transport = await asgi.accepted()
    assert [await transport.receive() for _ in range(3)] == ["hi", b"\x00", b"x"]
    assert asgi.sent[0]["subprotocol"] == "segstream.v1"


@pytest.mark.parametrize(
    ("message", "reason", "code"),
    [
        ({"code": 1000, "reason": ""}, "client_close", 1000),
        ({"code": 1005, "reason": ""}, "client_close", 1005),
        ({"code": 1005}, "connection_lost", 1005),
        ({"code": 1005, "reason": None}, "connection_lost", 1005),
        ({"code": 1006}, "connection_lost", 1006),
        ({"code": 1009, "reason": "too big"}, "message_too_big", 1009),
        ({"code": 1007, "reason": ""}, "protocol_error", 1007),
    ],
)
async def test_a_disconnect_message_becomes_its_row(
    message: dict[str, Any], reason: str, code: int
) -> None:
    transport = await Asgi({"type": "websocket.disconnect", **message}).accepted()
    with pytest.raises(Disconnect) as caught:
        await transport.receive()
    assert (caught.value.reason.name, caught.value.code_seen) == (reason, code)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ProxyDied("actor"), "proxy_lost"),
        (WebSocketDisconnect(1009, "too big"), "message_too_big"),
        (WebSocketDisconnect(1006), "connection_lost"),
        (RuntimeError("Cannot call receive once a disconnect message"), "connection_lost"),
        (OSError("reset"), "connection_lost"),
    ],
)
async def test_what_receive_raises_becomes_its_row(error: Exception, reason: str) -> None:
    transport = await Asgi(error).accepted()
    with pytest.raises(Disconnect) as caught:
        await transport.receive()
    assert caught.value.reason.name == reason


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError('Cannot call "send" once a close message has been sent.'),
        WebSocketDisconnect(1006),
        OSError("broken pipe"),
        ProxyDied("actor"),
    ],
)
async def test_what_send_and_close_raise_is_a_lost_transport(error: Exception) -> None:
    asgi = Asgi()
    transport = await asgi.accepted()
    asgi.failing = error
    for attempt in (transport.send("text"), transport.send(b"bytes"), transport.close(1000, "")):
        with pytest.raises(TransportLost):
            await attempt


async def test_a_send_after_the_close_is_a_lost_transport_not_a_traceback() -> None:
    transport = await Asgi().accepted()
    await transport.close(1000, "done")
    with pytest.raises(TransportLost):
        await transport.send("the bug that started it all")


async def test_the_server_below_may_say_which_row_it_was() -> None:
    end = {"type": "websocket.disconnect", "code": 4201, ENDED: "keepalive_timeout"}
    transport = await Asgi(end).accepted()
    with pytest.raises(Disconnect) as caught:
        await transport.receive()
    assert (caught.value.reason.name, caught.value.code_seen) == ("keepalive_timeout", 4201)
    assert not caught.value.by_server, "the close frame has been sent, or cannot be"


async def test_a_send_waits_until_the_proxy_says_what_has_left() -> None:
    asgi = Asgi(
        {"type": "websocket.receive", TAKEN: WINDOW_BYTES},
        {"type": "websocket.receive", "text": "a message of the client"},
    )
    transport = await asgi.accepted(TAKEN)
    await transport.send(bytes(WINDOW_BYTES))
    waiting = asyncio.create_task(transport.send("more"))
    await asyncio.sleep(3600)
    assert not waiting.done()
    assert await transport.receive() == "a message of the client", "reports are not messages"
    await waiting
    assert [len(m.get("bytes") or m.get("text", "")) for m in asgi.sent[1:]] == [WINDOW_BYTES, 4]


async def test_a_message_larger_than_the_window_passes() -> None:
    asgi = Asgi()
    transport = await asgi.accepted(TAKEN)
    await transport.send(bytes(3 * WINDOW_BYTES))
    assert len(asgi.sent) == 2


async def test_a_close_does_not_wait_for_the_window() -> None:
    asgi = Asgi()
    transport = await asgi.accepted(TAKEN)
    await transport.send(bytes(WINDOW_BYTES))
    await transport.close(4101, "slow")
    assert asgi.sent[-1]["type"] == "websocket.close"


async def test_without_reports_no_send_waits() -> None:
    asgi = Asgi()
    transport = await asgi.accepted()
    for _ in range(3):
        await transport.send(bytes(WINDOW_BYTES))
    assert len(asgi.sent) == 4


async def test_what_was_read_is_said_on_what_is_sent() -> None:
    asgi = Asgi({"type": "websocket.receive", "text": "hi"})
    transport = await asgi.accepted(READ)
    await transport.receive()
    await transport.send("answer")
    assert asgi.sent[1:] == [{"type": "websocket.send", "text": "answer", READ: MESSAGE_BYTES + 2}]


async def test_who_is_sent_nothing_is_read_on_all_the_same() -> None:
    message = {"type": "websocket.receive", "bytes": bytes(REPORT_EVERY_BYTES)}
    asgi = Asgi(*[message] * 4)
    transport = await asgi.accepted(READ)
    for _ in range(4):
        await transport.receive()
    weight = REPORT_EVERY_BYTES + MESSAGE_BYTES
    assert [said[READ] for said in asgi.sent[1:]] == [2 * weight, 4 * weight]
    assert 2 * weight < WINDOW_BYTES, "a proxy that was told so late would wait for ever"


@pytest.mark.parametrize("error", [RuntimeError("after the close"), OSError(), ProxyDied("actor")])
async def test_what_was_read_is_told_to_nobody_who_has_gone(error: Exception) -> None:
    asgi = Asgi({"type": "websocket.receive", "bytes": bytes(WINDOW_BYTES)})
    transport = await asgi.accepted(READ)
    asgi.failing = error
    assert len(await transport.receive()) == WINDOW_BYTES


async def test_a_server_that_asks_for_no_reports_gets_none() -> None:
    asgi = Asgi({"type": "websocket.receive", "bytes": bytes(WINDOW_BYTES)})
    transport = await asgi.accepted(TAKEN)
    await transport.receive()
    await transport.send("answer")
    assert asgi.sent[1:] == [{"type": "websocket.send", "text": "answer"}]
