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
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from websockets.exceptions import ConnectionClosed

from benchmarks import frames
from benchmarks.speakers import SPEAKERS, V1, Binary, Speaker

_DIAL_AT_ONCE = 8
_LEAVE_S = 5.0
_AGAIN_S = 0.3  # of warm-up after a rest
_GRACE_S = 60.0  # for handshakes, the last answers, rests, the farewells


def percentile(ordered: Sequence[float], p: float) -> float:
    """By nearest rank; 0.0 of nothing."""
    return ordered[round((len(ordered) - 1) * p / 100)] if ordered else 0.0


class Window:
    """The time in which is measured: ``warmup`` seconds from now, and ``seconds`` long."""

    def __init__(self, warmup: float, seconds: float) -> None:
        self.begin = time.perf_counter() + warmup
        self.end = self.begin + seconds
        self.seconds = seconds

    def holds(self, moment: float) -> bool:
        return self.begin <= moment < self.end

    async def announce(self) -> float:
        """Say when the window begins and when it ends; returns our own CPU seconds within it."""
        await asyncio.sleep(self.begin - time.perf_counter())
        print("begin", flush=True)
        before = _cpu_s()
        await asyncio.sleep(self.end - time.perf_counter())
        spent = _cpu_s() - before
        print("end", flush=True)
        return spent


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _dial_all(options: argparse.Namespace) -> list[Speaker]:
    """All clients, a few at a time: a burst of handshakes is not what is measured."""
    gate = asyncio.Semaphore(_DIAL_AT_ONCE)

    async def one() -> Speaker:
        async with gate:
            return await SPEAKERS[options.speaks].dial(options.url, options.output)

    return list(await asyncio.gather(*(one() for _ in range(options.clients))))


async def closed(options: argparse.Namespace, pictures: Sequence[bytes]) -> dict[str, Any]:
    """Every client asks again as soon as it is answered, in ``slices`` with a rest in between."""
    speakers = await _dial_all(options)
    latencies: list[list[float]] = [[] for _ in speakers]
    carried = Counter[str]()
    own_cpu_s = 0.0
    slices: list[float] = []
    at = list(range(len(speakers)))  # each client begins elsewhere in the clip

    async def client(number: int, speaker: Speaker, window: Window) -> None:
        while (asked := time.perf_counter()) < window.end:
            sent, received = await speaker.ask(pictures[at[number] % len(pictures)])
            answered = time.perf_counter()
            at[number] += 1
            if window.holds(answered):
                latencies[number].append(answered - asked)
                carried["sent"] += sent
                carried["received"] += received

    for number in range(options.slices):
        if number:
            print("rest", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
        before = sum(map(len, latencies))
        window = Window(_AGAIN_S if number else options.warmup, options.seconds)
        announcing = asyncio.create_task(window.announce())
        await asyncio.gather(*(client(n, speaker, window) for n, speaker in enumerate(speakers)))
        own_cpu_s += await announcing
        slices.append((sum(map(len, latencies)) - before) / window.seconds)
    await _leave(speakers)
    served = [len(mine) for mine in latencies]
    ordered = sorted(1000 * latency for mine in latencies for latency in mine)
    frames_in = max(1, len(ordered))
    return {
        "fps": len(ordered) / (options.seconds * options.slices),
        "slices_fps": slices,
        "p50_ms": percentile(ordered, 50),
        "p99_ms": percentile(ordered, 99),
        "bytes_up": carried["sent"] / frames_in,
        "bytes_down": carried["received"] / frames_in,
        "least_served": min(served),
        "most_served": max(served),
        "load_cpu_s": own_cpu_s,
        "frames": len(ordered),
    }


async def paced(options: argparse.Namespace, pictures: Sequence[bytes]) -> dict[str, Any]:
    """Every client sends ``fps`` frames a second; ages and drops by the second."""
    speakers = await _dial_all(options)
    window = Window(options.warmup, options.seconds)
    seconds = int(options.seconds)
    ages: list[list[float]] = [[] for _ in range(seconds)]
    drops: Counter[str] = Counter()
    served: Counter[int] = Counter()
    offered = 0

    def note(number: int, sent_at: float) -> None:
        now = time.perf_counter()
        if window.holds(now):
            ages[int(now - window.begin)].append(1000 * (now - sent_at))
            served[number] += 1

    async def client(number: int, speaker: Speaker) -> None:
        source = _PACED[type(speaker)](speaker, lambda sent_at: note(number, sent_at), drops)
        hearing = asyncio.create_task(source.hear())
        nonlocal offered
        # The clients' clocks are spread over one frame, as those of strangers are.
        due = window.begin - options.warmup + number / len(speakers) / options.fps
        at = number
        try:
            while (now := time.perf_counter()) < window.end:
                if now < due:
                    await asyncio.sleep(due - now)
                # A send that the server holds up makes the camera late; it skips, as cameras do.
                due = max(due + 1 / options.fps, time.perf_counter())
                offered += window.holds(now)
                await source.say(pictures[at % len(pictures)])
                at += 1
        except ConnectionClosed:
            drops["connection_lost"] += 1
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])

    own_cpu_s, *_ = await asyncio.gather(
        window.announce(), *map(client, *zip(*enumerate(speakers), strict=False))
    )
    await _leave(speakers)
    every = sorted(age for second in ages for age in second)
    return {
        "fps": len(every) / window.seconds,
        "offered_fps": offered / window.seconds,
        "age_p50_ms": percentile(every, 50),
        "age_p99_ms": percentile(every, 99),
        "ages_ms": [[percentile(sorted(s), 50), percentile(sorted(s), 99)] for s in ages],
        "drops": dict(drops),
        "least_served": min(served[n] for n in range(len(speakers))),
        "most_served": max(served.values(), default=0),
        "load_cpu_s": own_cpu_s,
        "frames": len(every),
    }


class PacedV1:
    """Frames carry the time at which they were sent; the server echoes it."""

    def __init__(self, speaker: V1, answered: Any, drops: Counter[str]) -> None:
        self._speaker = speaker
        self._answered = answered
        self._drops = drops

    async def say(self, picture: bytes) -> None:
        await self._speaker.say(picture, int(1e6 * time.perf_counter()))

    async def hear(self) -> None:
        while True:
            answer = await self._speaker.hear()
            if isinstance(answer, tuple):
                self._answered(answer[0] / 1e6)
                await self._speaker.acknowledge()
            elif answer["type"] == "dropped":
                self._drops[answer["cause"]] += len(answer["frames"])
            else:
                self._drops[answer["type"]] += 1


class PacedBinary:
    """Answers come in the order of the frames."""

    def __init__(self, speaker: Binary, answered: Any, drops: Counter[str]) -> None:
        self._speaker = speaker
        self._answered = answered
        self._sent_at: deque[float] = deque()

    async def say(self, picture: bytes) -> None:
        self._sent_at.append(time.perf_counter())
        await self._speaker.socket.send(picture)

    async def hear(self) -> None:
        while True:
            await self._speaker.socket.recv()
            self._answered(self._sent_at.popleft())


_PACED: dict[type, Any] = {V1: PacedV1, Binary: PacedBinary}


async def _leave(speakers: Sequence[Speaker]) -> None:
    leaving = [asyncio.ensure_future(speaker.leave()) for speaker in speakers]
    _, late = await asyncio.wait(leaving, timeout=_LEAVE_S)
    for task in late:
        task.cancel()


def main(argv: Sequence[str]) -> None:
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
    options = parser.parse_args(argv)
    pictures = frames.read(options.frames)
    load = {"closed": closed, "paced": paced}[options.how]
    # A server that leaves a frame unanswered is to fail the measurement, not to hold it up.
    deadline_s = options.warmup + options.seconds * options.slices + _GRACE_S
    figures = uvloop.run(asyncio.wait_for(load(options, pictures), deadline_s))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
