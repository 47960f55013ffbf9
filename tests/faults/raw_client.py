"""A WebSocket client over a bare socket: it can break every rule of RFC 6455.

It answers nothing by itself, but pings where it waits for a message, and sees
exactly what comes over the wire. Calls block, each within ``PATIENCE_S``.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import SUBPROTOCOL

PATIENCE_S = 30.0
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: close() sends RST, not FIN
_MASK = b"\x11\x22\x33\x44"


@dataclass(frozen=True, slots=True)
class Seen:
    """How the connection ended for the client; 1006 where no close frame came."""

    code: int
    reason: str = ""


class ConnectionEnded(Exception):
    """FIN or RST came, or a close frame where a message was expected."""


class RawClient:
    """One WebSocket connection; ``v1`` is greeted, plain has had its ``connected``."""

    def __init__(
        self,
        port: int,
        dialect: str = "plain",
        *,
        receive_buffer: int | None = None,
        greet: bool = True,
        headers: Sequence[str] = (),
        source: str = "127.0.0.1",
    ) -> None:
        self.v1 = dialect == "v1"
        self.seq = self.ack = 0
        self._buffer = b""
        self._sending = threading.Lock()
        self._socket = socket.socket()
        self._socket.settimeout(PATIENCE_S)
        if receive_buffer:  # before connect, or the window is settled without it
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self._socket.bind((source, 0))
            self._socket.connect(("127.0.0.1", port))
            self._shake_hands(port, headers)
            if greet:
                self._greet()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._socket.close()

    def _greet(self) -> None:
        if self.v1:
            self.say({"type": "hello", "client": "fault test"})
        self.welcome = self.next_message()  # or connected

    def _shake_hands(self, port: int, headers: Sequence[str]) -> None:
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            *([f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"] if self.v1 else []),
            *headers,
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._read_more()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101"), head

    # ------------------------------------------------------------------ out

    def put(self, wire: bytes) -> None:
        """Send bytes as they are; threads may share the client for this."""
        with self._sending:
            self._socket.sendall(wire)

    def send(self, opcode: int, payload: bytes = b"", *, masked: bool = True) -> None:
        """Send one final frame."""
        self.put(wire(opcode, payload, masked=masked))

    def say(self, message: dict[str, object]) -> None:
        self.send(TEXT, json.dumps(message).encode())

    def frame(self, image: bytes) -> None:
        """Send one picture in the client's dialect; v1 acknowledges what ``ack`` says."""
        self.seq += 1
        if self.v1:
            self.send(BINARY, encode_frame(Frame(self.seq, self.ack, 0, image)))
        else:
            data = base64.b64encode(image).decode()
            self.say({"type": "frame", "data": data, "timestamp": self.seq})

    def pong(self) -> None:
        """Show life as the dialect does it."""
        if self.v1:
            self.say({"type": "pong", "t": 0})
        else:
            self.send(PONG)

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Send a close frame, an empty one where no code is given."""
        self.send(CLOSE, b"" if code is None else struct.pack(">H", code) + reason.encode())

    def fin(self) -> None:
        """End the TCP connection without a close frame."""
        self._socket.close()

    def rst(self) -> None:
        """Reset the TCP connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()

    # ------------------------------------------------------------------ in

    def read(self, patience_s: float = PATIENCE_S) -> tuple[int, bytes]:
        """The next frame, opcode and payload; raises ConnectionEnded or TimeoutError."""
        self._socket.settimeout(patience_s)
        first, second = self._take(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self._take(2 if size == 126 else 8))
        return first & 0x0F, self._take(size)

    def next_message(self) -> dict[str, object]:
        """The next message: text as it is, of a v1 result the seqs; pings are answered.

        Raises:
            ConnectionEnded: a close frame came instead, or nothing will.
        """
        while True:
            opcode, payload = self.read()
            if opcode == TEXT:
                message: dict[str, object] = json.loads(payload)
                return message
            if opcode == BINARY:
                found = parse_result(payload)
                return {"type": "result", "seq": found.seq, "frame_seq": found.frame_seq}
            if opcode == CLOSE:
                raise ConnectionEnded(int.from_bytes(payload[:2]), payload[2:])
            assert opcode == PING, opcode
            self.send(PONG, payload)

    def live(self) -> tuple[list[dict[str, object]], Seen]:
        """Answer pings of either kind until the end; the messages that came, and how it ended."""
        messages: list[dict[str, object]] = []
        while True:
            opcode, payload = self.read()
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                return messages, Seen(int.from_bytes(payload[:2]), payload[2:].decode())
            elif opcode == TEXT:
                messages.append(json.loads(payload))
                self.pong()

    def between_pings_s(self) -> float:
        """What passes between the next two pings that are sent to a plain client."""
        seen: list[float] = []
        while len(seen) < 2:
            opcode, payload = self.read()
            if opcode == PING:
                seen.append(time.monotonic())
                self.send(PONG, payload)
        return seen[1] - seen[0]

    def end(self) -> Seen:
        """Read until the end, and say what it looked like."""
        try:
            while True:
                opcode, payload = self.read()
                if opcode == CLOSE:
                    if len(payload) < 2:
                        return Seen(1005)
                    return Seen(int.from_bytes(payload[:2]), payload[2:].decode())
        except ConnectionEnded:
            return Seen(1006)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read_more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _read_more(self) -> None:
        try:
            more = self._socket.recv(1 << 16)
        except ConnectionError:
            raise ConnectionEnded from None
        if not more:
            raise ConnectionEnded
        self._buffer += more


def wire(opcode: int, payload: bytes, *, masked: bool = True, declared: int | None = None) -> bytes:
    """A final frame (RFC 6455 section 5.2); ``declared`` is the length that its head claims."""
    length = len(payload) if declared is None else declared
    bit = 0x80 if masked else 0
    if length < 126:
        head = bytes([0x80 | opcode, bit | length])
    elif length < 1 << 16:
        head = bytes([0x80 | opcode, bit | 126]) + struct.pack(">H", length)
    else:
        head = bytes([0x80 | opcode, bit | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    key = _MASK * (len(payload) // 4 + 1)
    mixed = int.from_bytes(payload) ^ int.from_bytes(key[: len(payload)])
    return head + _MASK + mixed.to_bytes(len(payload))
