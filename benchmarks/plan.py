"""How much is measured: the whole, or a look."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.peers.roster import PEERS

WAYS = (("v1", "mask"), ("v1", "overlay"), ("plain", "overlay"))


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, and what belongs to each."""

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
