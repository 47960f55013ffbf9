"""``make bench``: everything that is measured, in one run, side by side.

    python -m benchmarks                 the whole, three quarters of an hour
    python -m benchmarks --quick         a look, two to three minutes
    python -m benchmarks --only served   parts alone, nothing written

A round measures each server at each number of clients, one after the other, none while another
runs, in slices of a second or so with the bare pipeline in between (``benchmarks.yardstick``). What
two servers do is compared by their median shares of it, so that neither gains from the machine's
better moments. Every figure is the median of the rounds.

The whole run writes ``results.json``, ``plot.png`` and the tables of ``README.md`` in this
folder; with ``--out`` any run writes the first two there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import frames, machine, report, served
from benchmarks.peers.environments import PEERS, Peer, PeerFailed, Unavailable, environment
from benchmarks.peers.environments import running as running_peer
from benchmarks.peers.environments import version as version_of
from benchmarks.yardstick import Yardstick, stopped
from deployments.launch.ports import free_port

PARTS = ("bare", "served", "peers", "overload", "scaling", "idle")
CAMERA_FPS = 30.0
OVERLOAD = 5.0  # times what was served
WAYS = (("v1", "mask"), ("v1", "overlay"), ("plain", "overlay"))

Point = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    slices: int  # of each point
    seconds: float  # of each slice
    yard_s: float  # of the bare pipeline around it
    clients: tuple[int, ...]
    ways: tuple[tuple[str, str], ...]
    overload_s: float
    overloaded: tuple[str, ...]  # peers that get the same
    peers: tuple[str, ...]
    settle_s: float
    idle_s: float
    scales: tuple[tuple[int, int], ...]  # ingress replicas, segmenter replicas


WHOLE = Plan(
    rounds=3,
    slices=5,
    seconds=1.0,
    yard_s=0.5,
    clients=(1, 4, 16, 64),
    ways=WAYS,
    overload_s=60.0,
    overloaded=("fastapi_pool",),
    peers=tuple(peer.name for peer in PEERS),
    settle_s=10.0,
    idle_s=20.0,
    scales=((1, 1), (1, 2), (2, 1), (2, 2)),
)
QUICK = Plan(
    rounds=1,
    slices=3,
    seconds=1.0,
    yard_s=0.5,
    clients=(1, 16),
    ways=WAYS[:1],
    overload_s=6.0,
    overloaded=(),
    peers=("original", "fastapi_pool"),
    settle_s=3.0,
    idle_s=5.0,
    scales=(),
)


class Run:
    """One run: what it has measured so far, and its voice."""

    def __init__(self, plan: Plan, parts: Sequence[str], scratch: Path) -> None:
        self.plan = plan
        self.parts = parts
        self.pictures = scratch / "frames"
        self.begun = time.monotonic()
        self.measured: dict[str, Any] = {
            "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": machine.describe(),
            "rounds": [],
            "peers": {},
            "unavailable": {},
        }
        frames.write(frames.make(), self.pictures)

    def say(self, words: str) -> None:
        print(f"[{time.monotonic() - self.begun:6.0f} s] {words}", flush=True)

    def everything(self) -> dict[str, Any]:
        self.say(machine.in_words(self.measured["machine"]))
        peers = self._installed() if {"peers", "overload"} & set(self.parts) else []
        with Yardstick(self.pictures) as yardstick:
            for number in range(1, self.plan.rounds + 1):
                self.say(f"round {number} of {self.plan.rounds}")
                last = number == self.plan.rounds
                self.measured["rounds"].append(self._round(yardstick, peers, last=last))
            if "scaling" in self.parts and self.plan.scales:
                self.measured["scaling"] = self._scaling(yardstick)
        if "overload" in self.parts:
            self._overload_of_peers(peers)
        self.measured["took_s"] = round(time.monotonic() - self.begun)
        return self.measured

    def _installed(self) -> list[Peer]:
        there = []
        for peer in PEERS:
            if peer.name not in self.plan.peers:
                continue
            made = environment(peer, self.say)
            if isinstance(made, Unavailable):
                self.say(f"{peer.name} is not measured: {made.reason}")
                self.measured["unavailable"][peer.name] = made.reason
                continue
            self.measured["peers"][peer.name] = {"title": peer.title, "version": version_of(peer)}
            there.append(peer)
        return there

    def _round(self, yardstick: Yardstick, peers: Sequence[Peer], *, last: bool) -> dict[str, Any]:
        """Everything side by side once; the overload, which takes minutes, in the last round."""
        measured: dict[str, Any] = {}
        overload = last and "overload" in self.parts
        if "bare" in self.parts:
            measured["bare"] = self._bare(yardstick)
        if overload or {"served", "idle"} & set(self.parts):
            with served.application() as app:
                if "idle" in self.parts:
                    measured["idle"] = served.idle(app, self.plan.settle_s, self.plan.idle_s)
                    self.say(f"idle: {sum(measured['idle'].values()):.3f} cores")
                if "served" in self.parts:
                    measured["served"] = {
                        f"{speaks} {output}": self._points(yardstick, app, speaks, output)
                        for speaks, output in self.plan.ways
                    }
                if overload:
                    self.measured["overload"] = self._overload(app)
        if "peers" in self.parts:
            measured["peers"] = {peer.name: self._peer(yardstick, peer) for peer in peers}
        return measured

    def _bare(self, yardstick: Yardstick) -> dict[str, Any]:
        """Model and pipeline in turns, so that a change of the machine's speed meets them alike."""
        turns = [
            {
                part: yardstick.measure(part, self.plan.yard_s)
                for part in ("model", "pipeline", "single")
            }
            for _ in range(9)
        ]
        bare: dict[str, Any] = report.median_of(turns)
        bare["of_model"] = report.median_of(
            [turn["pipeline"]["fps"] / turn["model"]["fps"] for turn in turns]
        )
        self.say(
            f"model {bare['model']['fps']:.0f} frames/s, pipeline {bare['pipeline']['fps']:.0f} "
            f"({bare['of_model']:.2f} of it), one frame {bare['single']['p50_ms']:.1f} ms"
        )
        return bare

    def _points(
        self, yardstick: Yardstick, server: served.Running, speaks: str, output: str
    ) -> dict[str, Point]:
        return {
            str(clients): self._point(yardstick, server, speaks, output, clients)
            for clients in self.plan.clients
        }

    def _point(
        self,
        yardstick: Yardstick,
        server: served.Running,
        speaks: str,
        output: str,
        clients: int,
    ) -> Point:
        """A closed loop, the bare pipeline around each slice; with one client, one frame too."""
        parts = ("pipeline", "single") if clients == 1 else ("pipeline",)
        yards: list[dict[str, Any]] = []

        def lay_the_yardstick() -> None:
            with stopped(server.family()):
                yards.append({part: yardstick.measure(part, self.plan.yard_s) for part in parts})

        lay_the_yardstick()
        point = served.under_load(
            server,
            "closed",
            self.pictures,
            lay_the_yardstick,
            speaks=speaks,
            output=output,
            clients=clients,
            slices=self.plan.slices,
            seconds=self.plan.seconds,
        )
        lay_the_yardstick()
        bare_fps = [(a["pipeline"]["fps"] + b["pipeline"]["fps"]) / 2 for a, b in pairwise(yards)]
        shares = [fps / bare for fps, bare in zip(point.pop("slices_fps"), bare_fps, strict=True)]
        point["bare_fps"], point["share"] = median(bare_fps), median(shares)
        if "single" in parts:
            point["over_single_ms"] = point["p50_ms"] - median(y["single"]["p50_ms"] for y in yards)
        self.say(
            f"{speaks} {output}, {clients} clients: {point['fps']:.0f} frames/s, "
            f"{point['share']:.2f} of the bare pipeline, p50 {point['p50_ms']:.1f} ms, "
            f"p99 {point['p99_ms']:.1f} ms, {sum(point['cpu_ms'].values()):.1f} ms of CPU a frame"
        )
        return point

    def _peer(self, yardstick: Yardstick, peer: Peer) -> dict[str, Any]:
        self.say(f"peer: {peer.title}")
        try:
            with _peer_server(peer) as server:
                return self._points(yardstick, server, peer.speaks, "mask")
        except (PeerFailed, RuntimeError) as error:
            self.say(f"{peer.name} failed: {error}")
            return {}

    def _overload(self, app: served.Running) -> dict[str, Any]:
        """Several times what the application serves is offered to it."""
        could = served.under_load(app, "closed", self.pictures, speaks="v1", clients=16, seconds=3)[
            "fps"
        ]
        clients = max(2, round(OVERLOAD * could / CAMERA_FPS))
        ours = self._offered(app, "v1", clients)
        return {"served_fps": could, "clients": clients, "ours": ours}

    def _overload_of_peers(self, peers: Sequence[Peer]) -> None:
        """The same cameras at others."""
        overload = self.measured["overload"]
        for peer in peers:
            if peer.name in self.plan.overloaded:
                with _peer_server(peer) as server:
                    overload[peer.name] = self._offered(server, peer.speaks, overload["clients"])

    def _offered(self, server: served.Running, speaks: str, clients: int) -> dict[str, Any]:
        with served.Samples(server, 2.0) as samples:
            offered = served.under_load(
                server,
                "paced",
                self.pictures,
                speaks=speaks,
                clients=clients,
                fps=CAMERA_FPS,
                warmup=5.0,
                seconds=self.plan.overload_s,
            )
        offered["memory_bytes"] = samples.taken
        self.say(
            f"overload, {speaks}: {clients} cameras offer {offered['offered_fps']:.0f} frames/s, "
            f"{offered['fps']:.0f} are served, age p50 {offered['age_p50_ms']:.0f} ms, "
            f"p99 {offered['age_p99_ms']:.0f} ms"
        )
        return offered

    def _scaling(self, yardstick: Yardstick) -> dict[str, Any]:
        points: dict[str, Any] = {}
        for ingress, segmenters in self.plan.scales:
            self.say(f"{ingress} ingress and {segmenters} segmenter replicas")
            with served.application(adjust=_replicas(ingress, segmenters)) as app:
                points[f"{ingress} ingress, {segmenters} segmenter"] = {
                    str(clients): report.median_of(
                        [self._point(yardstick, app, "v1", "mask", clients) for _ in range(2)]
                    )
                    for clients in self.plan.clients[-2:]
                }
        return points


def _replicas(ingress: int, segmenters: int) -> Callable[[dict[str, Any]], None]:
    """The cores are shared out, so that replicas compete for none."""
    threads = max(1, machine.cores() // segmenters)

    def adjust(args: dict[str, Any]) -> None:
        args["ingress"]["replicas"] = ingress
        args["pools"][0] |= {"replicas": segmenters, "threads": threads}

    return adjust


@contextmanager
def _peer_server(peer: Peer) -> Iterator[served.Running]:
    """A peer's server as something to put load on."""
    port = free_port()
    with running_peer(peer, port) as root:
        scheme = "http" if peer.speaks == "http" else "ws"
        yield served.Running(
            f"{scheme}://127.0.0.1:{port}{peer.path}",
            lambda: [root, *root.children(recursive=True)],
        )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--rounds", type=int, help="instead of the plan's")
    parser.add_argument("--out", type=Path, help="a folder for the JSON and the plot")
    options = parser.parse_args(argv)
    plan = QUICK if options.quick else WHOLE
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        measured = Run(plan, options.only, Path(scratch)).everything()
    print(report.tables(measured))
    whole = not options.quick and set(options.only) == set(PARTS)
    if whole or options.out:
        report.write(measured, options.out or Path(__file__).parent, readme=whole)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
