"""One run: every part that was asked for, in rounds, and all that it measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import frames, machine, served
from benchmarks.medians import median_of
from benchmarks.overload import Overload
from benchmarks.peers.environments import Unavailable, environment, version
from benchmarks.peers.process import PeerFailed, running
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.plan import Plan
from benchmarks.point import Bench
from benchmarks.yardstick import Yardstick
from deployments.cores import cores
from deployments.launch.ports import free_port

PARTS = ("bare", "served", "peers", "overload", "scaling", "idle")
_BARE_TURNS = 9


class Run:
    """What it has measured so far, and its voice."""

    def __init__(self, plan: Plan, parts: Sequence[str], scratch: Path) -> None:
        self._plan = plan
        self._parts = frozenset(parts)
        self._pictures = scratch / "frames"
        self._begun = time.monotonic()
        self._overload = Overload(self._pictures, plan.overload_s, self.say)
        self._measured: dict[str, Any] = {
            "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": machine.describe(),
            "rounds": [],
            "peers": {},
            "unavailable": {},
        }
        frames.write(frames.make(), self._pictures)

    def say(self, words: str) -> None:
        print(f"[{time.monotonic() - self._begun:6.0f} s] {words}", flush=True)

    def everything(self) -> dict[str, Any]:
        """Measure it all; what came of it."""
        measured = self._measured
        self.say(machine.in_words(measured["machine"]))
        peers = self._installed() if {"peers", "overload"} & self._parts else []
        with Yardstick(self._pictures) as yardstick:
            bench = Bench(self._plan, self._pictures, yardstick, self.say)
            for number in range(1, self._plan.rounds + 1):
                self.say(f"round {number} of {self._plan.rounds}")
                measured["rounds"].append(self._round(bench, peers, number == self._plan.rounds))
            if "scaling" in self._parts and self._plan.scales:
                measured["scaling"] = self._scaling(bench)
        if "overload" in self._parts:
            self._overload_of_peers(peers)
        measured["took_s"] = round(time.monotonic() - self._begun)
        return measured

    def _installed(self) -> list[Peer]:
        """The peers of the plan that there are; of the others, why not."""
        there = []
        for peer in PEERS:
            if peer.name not in self._plan.peers:
                continue
            made = environment(peer, self.say)
            if isinstance(made, Unavailable):
                self.say(f"{peer.name} is not measured: {made.reason}")
                self._measured["unavailable"][peer.name] = made.reason
                continue
            self._measured["peers"][peer.name] = {"title": peer.title, "version": version(peer)}
            there.append(peer)
        return there

    def _round(self, bench: Bench, peers: Sequence[Peer], is_last: bool) -> dict[str, Any]:
        """Everything side by side once; the overload, which takes minutes, in the last round."""
        measured: dict[str, Any] = {}
        if "bare" in self._parts:
            measured["bare"] = self._bare(bench.yardstick)
        ours = {"served", "idle", "overload"} if is_last else {"served", "idle"}
        if ours & self._parts:
            with served.application() as app:
                measured |= self._ours(bench, app)
                if is_last and "overload" in self._parts:
                    self._overload.of_ours(app)
                    self._measured["overload"] = self._overload.measured
        if "peers" in self._parts:
            measured["peers"] = {peer.name: self._peer(bench, peer) for peer in peers}
        return measured

    def _bare(self, yardstick: Yardstick) -> dict[str, Any]:
        """Model and pipeline in turns, so that a change of the machine's speed meets them alike."""
        parts = ("model", "pipeline", "single")
        turns = [
            {part: yardstick.measure(part, self._plan.yard_s) for part in parts}
            for _ in range(_BARE_TURNS)
        ]
        bare: dict[str, Any] = median_of(turns)
        bare["of_model"] = median_of(
            [turn["pipeline"]["fps"] / turn["model"]["fps"] for turn in turns]
        )
        self.say(
            f"model {bare['model']['fps']:.0f} frames/s, pipeline {bare['pipeline']['fps']:.0f} "
            f"({bare['of_model']:.2f} of it), one frame {bare['single']['p50_ms']:.1f} ms"
        )
        return bare

    def _ours(self, bench: Bench, app: served.Running) -> dict[str, Any]:
        measured: dict[str, Any] = {}
        if "idle" in self._parts:
            measured["idle"] = served.idle(app, self._plan.settle_s, self._plan.idle_s)
            self.say(f"idle: {sum(measured['idle'].values()):.3f} cores")
        if "served" in self._parts:
            measured["served"] = {
                f"{speaks} {output}": bench.points(app, speaks, output)
                for speaks, output in self._plan.ways
            }
        return measured

    def _peer(self, bench: Bench, peer: Peer) -> dict[str, Any]:
        self.say(f"peer: {peer.title}")
        try:
            with _peer_server(peer) as server:
                return bench.points(server, peer.speaks, "mask")
        except (PeerFailed, RuntimeError) as error:
            self.say(f"{peer.name} failed: {error}")
            return {}

    def _overload_of_peers(self, peers: Sequence[Peer]) -> None:
        for peer in peers:
            if peer.name in self._plan.overloaded:
                with _peer_server(peer) as server:
                    self._overload.of(peer.name, server, peer.speaks)

    def _scaling(self, bench: Bench) -> dict[str, Any]:
        points: dict[str, Any] = {}
        for ingress, segmenters in self._plan.scales:
            self.say(f"{ingress} ingress and {segmenters} segmenter replicas")
            with served.application(adjust=_replicas(ingress, segmenters)) as app:
                points[f"{ingress} ingress, {segmenters} segmenter"] = {
                    str(clients): median_of(
                        [bench.point(app, "v1", "mask", clients) for _ in range(2)]
                    )
                    for clients in self._plan.clients[-2:]
                }
        return points


def _replicas(ingress: int, segmenters: int) -> Callable[[dict[str, Any]], None]:
    """The cores are shared out, so that replicas compete for none."""
    threads = max(1, cores() // segmenters)

    def adjust(args: dict[str, Any]) -> None:
        args["ingress"]["replicas"] = ingress
        args["pools"][0] |= {"replicas": segmenters, "threads": threads}

    return adjust


@contextmanager
def _peer_server(peer: Peer) -> Iterator[served.Running]:
    """A peer's server as something to put load on."""
    port = free_port()
    with running(peer, port) as root:
        scheme = "http" if peer.speaks == "http" else "ws"
        yield served.Running(
            f"{scheme}://127.0.0.1:{port}{peer.path}",
            lambda: [root, *root.children(recursive=True)],
        )
