"""What strangers do to a server: each attack as a client that does one thing for as long as it may.

Attackers live in a process of their own, ``python -m tests.attacks.attackers PORT NAME ...``, which
says when all its bytes are made and begins then; it ends with its standard input, and says what
became of each attack. It shares its cores with the server, and what an attacker computes at home is
no harm done to anybody; so it has the lowest priority, and a session of its own, among which Linux
divides the cores before it looks at anyone's priority.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deployments.launch.configuration import ROOT
from ingress.wire.pictures import Frame, encode_frame
from tests.faults.raw_client import BINARY, PING, TEXT, ConnectionEnded, RawClient, wire
from tests.integration.pictures import encoded

ADDRESS = "127.0.0.66"
FORWARDED = "X-Forwarded-For: 198.51.100.66"  # where the address of a stranger counts

LARGE = 520  # the side of a picture whose view as PNG, twice as wide, is still drawn
LARGEST = {"visualization_mode": "side-by-side", "output": "overlay", "format": "png"}

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
    """``count`` attackers that do the same; ``strike`` makes what they do, bytes and all."""

    count: int
    make: Callable[[], Callable[[Attacker], None]]


@dataclass
class Report:
    """What became of an attack: ``strikes`` are connections or requests that were begun."""

    strikes: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def attacked(port: int, *names: str) -> Iterator[Report]:
    """These attacks are under way, in their own process."""
    command = [sys.executable, "-m", "tests.attacks.attackers", str(port), *names]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pipes["start_new_session"] = True
    report = Report()
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield report
        finally:
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    report.strikes = json.loads(said)
    assert all(report.strikes.values()), report.strikes


def _main(port: int, names: list[str]) -> None:
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")
    strikes = {name: ATTACKS[name].make() for name in names}
    attackers = [
        (name, Attacker(port, strikes[name])) for name in names for _ in range(ATTACKS[name].count)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _, attacker in attackers:
        attacker.start()
    sys.stdin.read()
    for _, attacker in attackers:
        attacker.over.set()
    for _, attacker in attackers:
        attacker.join(35)
        assert attacker.failure is None
    struck = {name: sum(a.strikes for n, a in attackers if n == name) for name in names}
    sys.stdout.write(json.dumps(struck))


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


def noise(side: int) -> bytes:
    """A JPEG whose PNG is as large as pixels allow."""
    noise = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    return encoded(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 40])


def _posts(body: bytes, path: str = "/api/segment") -> Callable[[Attacker], None]:
    def strike(attacker: Attacker) -> None:
        attacker.post(body, path)

    return strike


def _giant_results() -> Callable[[Attacker], None]:
    giant = noise(1800)

    def strike(attacker: Attacker) -> None:
        with attacker.client("v1", headers=[FORWARDED]) as client:
            client.say({"type": "update_viz", "settings": LARGEST})
            for seq in range(1, 4):
                client.put(wire(BINARY, encode_frame(Frame(seq, 0, 0, giant))))
            for _ in range(10):
                if attacker.over.wait(0.2):
                    break
                client.pong()
            client.rst()  # and has them parked

    return strike


def _largest_results() -> Callable[[Attacker], None]:
    """As many as are taken, each as large as may be drawn of a stream's frame."""
    picture = noise(LARGE)

    def strike(attacker: Attacker) -> None:
        with attacker.client() as client:
            client.say({"type": "update_viz", "settings": LARGEST})
            while not attacker.over.is_set():
                client.frame(picture)
                client.next_message()

    return strike


def _hello_and_go(attacker: Attacker) -> None:
    with attacker.client("v1", greet=False, headers=[FORWARDED]) as client:
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


def _silent(attacker: Attacker) -> None:
    """125 sockets that say nothing, or the half of a handshake."""
    with ExitStack() as sockets:
        for number in range(125):
            mute = socket.create_connection(("127.0.0.1", attacker.port), 5, (ADDRESS, 0))
            sockets.enter_context(mute)
            if number % 2:
                mute.sendall(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
        attacker.over.wait()


def _just(strike: Callable[[Attacker], None]) -> Callable[[], Callable[[Attacker], None]]:
    return lambda: strike


def _sends(dialect: str, blow: Callable[[], bytes]) -> Callable[[], Callable[[Attacker], None]]:
    return lambda: _repeated(dialect, blow())


def _posts_of(body: Callable[[], bytes]) -> Callable[[], Callable[[Attacker], None]]:
    return lambda: _posts(body())


ATTACKS: Mapping[str, Attack] = {
    "a view of 300,000 keys": Attack(1, _sends("plain", lambda: _say(_unknown_keys(300_000)))),
    "views of 3,800 keys": Attack(1, _sends("v1", lambda: _say(_unknown_keys(3_800)))),
    "pictures with 480 texts": Attack(4, _posts_of(_text_bomb)),
    "pictures in loops": Attack(16, _posts_of(lambda: noise(480))),
    "fragments of a byte": Attack(1, lambda: _fragmented(b"\x6a")),
    "empty fragments": Attack(1, lambda: _fragmented(b"")),
    "bursts of get_stats": Attack(1, _sends("v1", lambda: _burst('{"type":"get_stats"}'))),
    "bursts of empty views": Attack(
        1, _sends("plain", lambda: _burst('{"type":"update_viz","settings":{}}'))
    ),
    "bursts of acks": Attack(1, _sends("v1", lambda: _burst('{"type":"ack","seq":0}'))),
    "bursts of pings": Attack(1, _sends("v1", lambda: _burst('{"type":"ping","t":1}'))),
    "pings of the protocol": Attack(1, _sends("plain", lambda: wire(PING, b"") * 40_000)),
    "results without end": Attack(3, _giant_results),
    "the largest results": Attack(1, _largest_results),
    "hello and go": Attack(4, _just(_hello_and_go)),
    "bodies by the byte": Attack(4, _just(_dripping)),
    "silence and half handshakes": Attack(4, _just(_silent)),
}


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
