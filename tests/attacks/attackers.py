"""What strangers do to a server: each attack as a client that does one thing for as long as it may.

All bytes are made before an attack begins, and an attacker sends as fast as it is read: on two
cores, what it computes is taken from the server, too.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ingress.wire.pictures import Frame, encode_frame
from tests.faults.raw_client import BINARY, TEXT, ConnectionEnded, RawClient, wire
from tests.integration.pictures import encoded

ADDRESS = "127.0.0.66"

_MASK = b"\x11\x22\x33\x44"


class Attacker(threading.Thread):
    """One stranger: ``strike`` until it is over; a connection that is lost is made anew."""

    def __init__(self, port: int, strike: Callable[[Attacker], None]) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.over = threading.Event()
        self.strikes = 0
        self._strike = strike
        self.failure: BaseException | None = None

    def run(self) -> None:
        while not self.over.is_set():
            self.strikes += 1
            try:
                self._strike(self)
            except (ConnectionEnded, OSError, http.client.HTTPException, AssertionError):
                self.over.wait(0.1)  # refused or thrown out: it tries again
            except BaseException as error:  # a bug of the test's
                self.failure = error
                raise

    def client(self, dialect: str = "plain", **options: Any) -> RawClient:
        return RawClient(self.port, dialect, source=ADDRESS, **options)

    def post(self, body: bytes, path: str = "/api/segment") -> int:
        """The status of one POST."""
        asked = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(ADDRESS, 0)
        )
        try:
            asked.request("POST", path, body, {"Content-Type": "application/octet-stream"})
            with asked.getresponse() as answer:
                answer.read()
                return answer.status
        finally:
            asked.close()


@dataclass(frozen=True)
class Attack:
    """``count`` attackers that do the same."""

    count: int
    strike: Callable[[Attacker], None]

    @contextmanager
    def on(self, port: int) -> Iterator[list[Attacker]]:
        attackers = [Attacker(port, self.strike) for _ in range(self.count)]
        for attacker in attackers:
            attacker.start()
        try:
            yield attackers
        finally:
            for attacker in attackers:
                attacker.over.set()
            for attacker in attackers:
                attacker.join(35)
        for attacker in attackers:
            assert attacker.failure is None
            assert attacker.strikes


def _say(text: str) -> bytes:
    return wire(TEXT, text.encode())


def _unknown_keys(count: int) -> str:
    settings = {f"k{number:06}": number for number in range(count)}
    return json.dumps({"type": "update_viz", "settings": settings})


def _repeated(dialect: str, blow: bytes) -> Callable[[Attacker], None]:
    """Send the same bytes for ever on one connection, whose answers are thrown away."""

    def strike(attacker: Attacker) -> None:
        with attacker.client(dialect) as client:
            silent = threading.Thread(target=_swallow, args=(client,), daemon=True)
            silent.start()
            while not attacker.over.is_set():
                client.put(blow)

    return strike


def _swallow(client: RawClient) -> None:
    with suppress(ConnectionEnded, OSError):
        while True:
            client.read()


def _fragments(payload_byte: bytes) -> bytes:
    """256 KiB of continuation frames, of one byte or of none."""
    one = bytes([0x00, 0x80 | len(payload_byte)]) + _MASK + payload_byte
    return one * (256 * 1024 // len(one))


def _fragmented(payload_byte: bytes) -> Callable[[Attacker], None]:
    first = bytes([0x01, 0x80 | 1]) + _MASK + b"\x6a"
    rest = _fragments(payload_byte)

    def strike(attacker: Attacker) -> None:
        with attacker.client() as client:
            threading.Thread(target=_swallow, args=(client,), daemon=True).start()
            client.put(first)
            while not attacker.over.is_set():
                client.put(rest)

    return strike


def _burst(text: str) -> bytes:
    one = _say(text)
    return one * (256 * 1024 // len(one))


def _text_bomb() -> bytes:
    """A PNG of 8 by 8 with 500 chunks that inflate to 8 MiB each."""
    picture = encoded(".png", np.zeros((8, 8, 3), np.uint8), [])
    bomb = b"k\0\0" + zlib.compress(bytes(8 << 20), 9)
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    head = 8 + 25  # the signature and IHDR
    return picture[:head] + chunk * 480 + picture[head:]


def _noise(side: int) -> bytes:
    """A JPEG whose PNG is as large as pixels allow."""
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 40])


def _posts(body: bytes, path: str = "/api/segment") -> Callable[[Attacker], None]:
    def strike(attacker: Attacker) -> None:
        attacker.post(body, path)

    return strike


def _giant_results(attacker: Attacker) -> None:
    picture = _GIANT
    with attacker.client("v1") as client:
        view = {"output": "side_by_side", "format": "png"}
        client.say({"type": "update_viz", "settings": view})
        for seq in range(1, 4):
            client.put(wire(BINARY, encode_frame(Frame(seq, 0, 0, picture))))
        while not attacker.over.wait(1):
            client.pong()
        client.rst()  # and has them parked


def _hello_and_go(attacker: Attacker) -> None:
    with attacker.client("v1", greet=False) as client:
        client.say({"type": "hello", "client": "an attack"})
        client.next_message()
        client.rst()


def _dripping(attacker: Attacker) -> None:
    """130 POSTs whose bodies come by the byte."""
    head = (
        b"POST /api/segment HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n" % attacker.port
    )
    sockets: list[socket.socket] = []
    try:
        for _ in range(130):
            drip = socket.create_connection(("127.0.0.1", attacker.port), 5, (ADDRESS, 0))
            sockets.append(drip)
            drip.sendall(head)
        while sockets and not attacker.over.wait(0.5):
            for drip in list(sockets):
                try:
                    drip.sendall(b"x")
                except OSError:
                    sockets.remove(drip)
                    drip.close()
    finally:
        for drip in sockets:
            drip.close()


_GIANT = _noise(1800)
_PORTRAIT_BODY = _noise(480)

ATTACKS = {
    "a view of 300,000 keys": Attack(1, _repeated("plain", _say(_unknown_keys(300_000)))),
    "views of 5,200 keys": Attack(1, _repeated("v1", _say(_unknown_keys(3_800)))),
    "pictures with 480 texts": Attack(4, _posts(_text_bomb())),
    "pictures in loops": Attack(16, _posts(_PORTRAIT_BODY)),
    "fragments of a byte": Attack(1, _fragmented(b"\x6a")),
    "empty fragments": Attack(1, _fragmented(b"")),
    "bursts of get_stats": Attack(1, _repeated("v1", _burst('{"type":"get_stats"}'))),
    "bursts of empty views": Attack(
        1, _repeated("plain", _burst('{"type":"update_viz","settings":{}}'))
    ),
    "bursts of acks": Attack(1, _repeated("v1", _burst('{"type":"ack","seq":0}'))),
    "bursts of pings": Attack(1, _repeated("v1", _burst('{"type":"ping","t":1}'))),
    "pings of the protocol": Attack(1, _repeated("plain", wire(9, b"") * 40_000)),
    "results without end": Attack(3, _giant_results),
    "hello and go": Attack(4, _hello_and_go),
    "bodies by the byte": Attack(4, _dripping),
}
