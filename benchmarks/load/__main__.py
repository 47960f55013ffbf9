"""The load generator: a process of its own, with every client of a measurement in one event loop.

Closed loop: each client keeps one frame under way and sends the next when its answer is there,
so what is measured is the server's rate and not a queue of our own making. Paced: each client
sends at a camera's rate whatever comes back, and the age of what comes back is measured.

    python -m benchmarks.load closed --url ws://127.0.0.1:8000/ws --speaks v1 --clients 16 ...

It says ``begin`` on stdout when the measurement starts and ``end`` when it is over, so that the
parent can read the clocks of the server's processes, and then one line of JSON. A closed loop may
be measured in slices: between two of them no frame is under way, it says ``rest``, and goes on at
the next line of its stdin. Meanwhile the parent can stop the server and measure something else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import frames
from benchmarks.load.closed import closed
from benchmarks.load.paced import paced
from benchmarks.load.speakers import SPEAKERS, Speaker

_DIAL_AT_ONCE = 8
_LEAVE_S = 5.0
_GRACE_S = 60.0  # for handshakes, the last answers, rests, the farewells


async def load(options: argparse.Namespace, pictures: Sequence[bytes]) -> dict[str, Any]:
    """The figures of one load, from the first handshake to the last farewell."""
    speakers = await _dial_all(options)
    figures = await {"closed": closed, "paced": paced}[options.how](speakers, pictures, options)
    await _leave(speakers)
    return figures


async def _dial_all(options: argparse.Namespace) -> list[Speaker]:
    """All clients, a few at a time: a burst of handshakes is not what is measured."""
    gate = asyncio.Semaphore(_DIAL_AT_ONCE)

    async def one() -> Speaker:
        async with gate:
            return await SPEAKERS[options.speaks].dial(options.url, options.output)

    return list(await asyncio.gather(*(one() for _ in range(options.clients))))


async def _leave(speakers: Sequence[Speaker]) -> None:
    leaving = [asyncio.ensure_future(speaker.leave()) for speaker in speakers]
    _, late = await asyncio.wait(leaving, timeout=_LEAVE_S)
    for task in late:
        task.cancel()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.load", description=__doc__)
    parser.add_argument("how", choices=("closed", "paced"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--speaks", choices=SPEAKERS, required=True)
    parser.add_argument("--output", default="mask")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--fps", type=float, default=30.0, help="paced: of each client")
    parser.add_argument("--warmup", type=float, default=1.5)
    parser.add_argument("--seconds", type=float, default=5.0, help="closed: of each slice")
    parser.add_argument("--slices", type=int, default=1, help="closed: how many")
    parser.add_argument("--frames", type=Path, required=True, help="a file of benchmarks.frames")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    pictures = frames.read(options.frames)
    # A server that leaves a frame unanswered is to fail the measurement, not to hold it up.
    deadline_s = options.warmup + options.seconds * options.slices + _GRACE_S
    figures = uvloop.run(asyncio.wait_for(load(options, pictures), deadline_s))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
