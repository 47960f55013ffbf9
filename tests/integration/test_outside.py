"""The server talks to nobody outside: it is watched in a network of its own.

The application runs in a network namespace whose only way out leads to nobody, and nftables
counts what leaves by it: connections, look-ups of names, usage reports. Ray asks the
kernel by which address it would reach the world, which sends nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.launch.configuration import ROOT
from tests.tools import tool

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

NAMESPACE = f"segstream-{os.getpid()}"
ADDRESS = "10.213.0.1"

# Who was sent what is kept in a set, so that a failure names it.
RULES = """
table inet watch {
    set sought { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 1024; }
    chain leaving {
        type filter hook output priority 0
        oifname "out0" meta l4proto { tcp, udp } add @sought { ip daddr . meta l4proto . th dport }
        oifname "out0" counter
    }
}
"""

# Every way in is tried once: the page, the modes (all are loaded), the API, both dialects.
VISIT = """
import asyncio, sys
from client import connect
from client.sample import SampleClip
from client.sources import encode_jpeg
from tests.serve_app import serve_app

async def stream(url, picture):
    async with connect(url) as stream:
        for mode in stream.welcome.modes:
            await stream.change_mode(mode.name)
            await stream.send(picture)
            async for outcome in stream:
                break
        await stream.get_stats()

with serve_app(sys.argv[1]) as app:
    for path in ("", "health", "ready", "api/modes", "metrics"):
        app.get(path)
    asyncio.run(stream(app.ws, encode_jpeg(SampleClip().at(0.0))))
print("visited")
"""


@pytest.fixture
def namespace() -> Iterator[list[str]]:
    """The words that run a command in a network of its own, with a counter at its only way out."""
    ip = tool("ip", package="iproute2")
    nft = tool("nft", package="nftables")
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("needs root, to make a network namespace")
    inside = [ip, "netns", "exec", NAMESPACE]
    _do(ip, "netns", "add", NAMESPACE)
    try:
        _do(*inside, ip, "link", "set", "lo", "up")
        _do(*inside, ip, "link", "add", "out0", "type", "veth", "peer", "name", "nobody0")
        for link in ("out0", "nobody0"):  # IPv6 announces itself, which nobody asked it to
            switch = f"echo 1 > /proc/sys/net/ipv6/conf/{link}/disable_ipv6"
            _do(*inside, "sh", "-c", switch)
        _do(*inside, ip, "address", "add", f"{ADDRESS}/24", "dev", "out0")
        _do(*inside, ip, "link", "set", "nobody0", "up")
        _do(*inside, ip, "link", "set", "out0", "up")
        _do(*inside, ip, "route", "add", "default", "via", "10.213.0.254")
        _do(*inside, nft, RULES)
        yield inside
    finally:
        _do(ip, "netns", "delete", NAMESPACE)


def sought(inside: list[str]) -> str:
    """Whom the packets were for: addresses, protocols, ports."""
    return _do(*inside, "nft", "list", "set", "inet", "watch", "sought")


def packets(inside: list[str]) -> int:
    """Packets that left, or tried to."""
    listing = json.loads(_do(*inside, "nft", "--json", "list", "chain", "inet", "watch", "leaving"))
    rules = [entry["rule"] for entry in listing["nftables"] if "rule" in entry]
    counters = [e["counter"]["packets"] for rule in rules for e in rule["expr"] if "counter" in e]
    assert len(counters) == 1
    count: int = counters[0]
    return count


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def test_the_counter_sees_who_tries(namespace: list[str]) -> None:
    asks = "import socket; s = socket.socket(2, 2); s.sendto(b'?', ('192.0.2.1', 53))"
    assert packets(namespace) == 0, sought(namespace)
    _do(*namespace, sys.executable, "-c", asks)
    assert packets(namespace) > 0


def test_the_server_opens_no_connection_to_the_outside(
    namespace: list[str], tmp_path: Path
) -> None:
    visit = tmp_path / "visit.py"
    visit.write_text(VISIT)
    with (tmp_path / "said").open("w+") as said:
        done = subprocess.run(
            [*namespace, sys.executable, str(visit), "fast"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
            check=False,
        )
        said.seek(0)
        assert done.returncode == 0, said.read()[-3000:]
        said.seek(0)
        assert "visited" in said.read()
    assert packets(namespace) == 0, sought(namespace)
