"""A run measures the parts that were asked for, in rounds, and tells what it could not measure.

Servers, yardstick and load are stand-ins here: which of them is met, how often, and where its
figures go is what is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from benchmarks import frames, run
from benchmarks.peers.environments import Unavailable
from benchmarks.peers.process import PeerFailed
from benchmarks.peers.roster import Peer
from benchmarks.plan import QUICK, Plan
from benchmarks.report import tables
from benchmarks.run import PARTS, Run
from benchmarks.served import Running

SERVER = Running("ws://127.0.0.1:9/ws", lambda: [])
PLAN = replace(
    QUICK, rounds=2, clients=(1, 16), scales=((1, 2),), overloaded=("fastapi_pool",), idle_s=0.0
)


class FakeYardstick:
    def __init__(self, pictures: Path) -> None:
        assert pictures.exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def measure(self, part: str, seconds: float) -> dict[str, Any]:
        stages = {"stages_ms": {"decode": 1.0}, "p50_ms": 5.0} if part == "single" else {}
        return {"fps": {"model": 400.0, "pipeline": 300.0, "single": 200.0}[part], **stages}


class FakeSamples:
    def __init__(self, server: Running, every_s: float) -> None:
        self.taken = [(0.0, {"ingress": 100})]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def under_load(
    server: Running,
    how: str,
    pictures: Path,
    rest: Callable[[], object] = lambda: None,
    *,
    slices: int = 1,
    **options: Any,
) -> dict[str, Any]:
    """What the load generator would say of a server of 240 frames/s."""
    common = {"least_served": 9, "most_served": 11, "cpu_ms": {"load": 1.0}, "frames": 20}
    if how == "paced":
        ages = {"age_p50_ms": 50.0, "age_p99_ms": 90.0, "ages_ms": [[50.0, 90.0]] * 3}
        return {**common, **ages, "fps": 240.0, "offered_fps": 1200.0, "drops": {}}
    for _ in range(slices - 1):
        rest()
    latency = {"p50_ms": 9.0, "p99_ms": 12.0, "bytes_up": 39e3, "bytes_down": 2e3}
    return {**common, **latency, "fps": 240.0, "slices_fps": [240.0] * slices}


@pytest.fixture
def applications(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The stand-ins; the list has the changed arguments of each application that was started."""
    started: list[dict[str, Any]] = []

    @contextmanager
    def application(adjust: Callable[[dict[str, Any]], None] = lambda _: None) -> Iterator[Running]:
        args: dict[str, Any] = {"ingress": {}, "pools": [{}]}
        adjust(args)
        started.append(args)
        yield SERVER

    @contextmanager
    def peer_server(peer: Peer) -> Iterator[Running]:
        if peer.name == "original":
            raise PeerFailed("original ended with 1")
        yield SERVER

    def idle(app: Running, settle_s: float, seconds: float) -> dict[str, float]:
        return {"raylet": 0.05}

    monkeypatch.setattr(frames, "make", lambda: [b"jpeg"])
    monkeypatch.setattr(run, "Yardstick", FakeYardstick)
    monkeypatch.setattr("benchmarks.served.application", application)
    monkeypatch.setattr("benchmarks.served.idle", idle)
    monkeypatch.setattr(run, "_peer_server", peer_server)
    monkeypatch.setattr(run, "environment", lambda peer, tell: Path("python"))
    monkeypatch.setattr(run, "version", lambda peer: "1.0")
    monkeypatch.setattr("benchmarks.point.under_load", under_load)
    monkeypatch.setattr("benchmarks.overload.under_load", under_load)
    monkeypatch.setattr("benchmarks.overload.Samples", FakeSamples)
    return started


def measured(scratch: Path, *parts: str, plan: Plan = PLAN) -> dict[str, Any]:
    return Run(plan, parts, scratch).everything()


def shape(figures: Any) -> Any:
    """The keys of keys, as deep as they go."""
    return {key: shape(value) for key, value in figures.items()} if isinstance(figures, dict) else 0


def test_the_whole_has_its_parts_side_by_side_in_each_round(
    applications: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = measured(tmp_path, *PARTS)
    first, last = told["rounds"]
    assert list(first) == ["bare", "idle", "served", "peers"]
    assert shape(first) == shape(last)
    assert list(first["served"]) == ["v1 mask"]
    assert list(first["served"]["v1 mask"]) == ["1", "16"]
    assert first["served"]["v1 mask"]["16"]["share"] == pytest.approx(0.8)
    assert first["served"]["v1 mask"]["1"]["over_single_ms"] == 4.0
    assert first["bare"]["of_model"] == 0.75
    assert first["peers"]["original"] == {}
    assert first["peers"]["fastapi_pool"]["16"]["fps"] == 240.0
    assert told["overload"]["clients"] == 40
    assert list(told["overload"]) == ["served_fps", "clients", "ours", "fastapi_pool"]
    assert list(told["scaling"]) == ["1 ingress, 2 segmenter"]
    said = capsys.readouterr().out
    assert "original failed: original ended with 1" in said
    assert "v1 mask, 16 clients: 240 frames/s, 0.80 of the bare pipeline, p50 9.0 ms" in said


def test_replicas_share_the_cores_out(
    applications: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.run.cores", lambda: 6)
    measured(tmp_path, "scaling", plan=replace(PLAN, scales=((1, 2), (2, 9))))
    assert applications == [
        {"ingress": {"replicas": 1}, "pools": [{"replicas": 2, "threads": 3}]},
        {"ingress": {"replicas": 2}, "pools": [{"replicas": 9, "threads": 1}]},
    ]


@pytest.mark.parametrize(
    ("parts", "in_round", "started"),
    [
        (["bare"], ["bare"], 0),
        (["idle"], ["idle"], 2),
        (["served", "idle"], ["idle", "served"], 2),
        (["overload"], [], 1),  # it takes minutes: in the last round alone
        (["peers"], ["peers"], 0),
    ],
)
def test_parts_alone_start_what_they_need(
    applications: list[dict[str, Any]],
    tmp_path: Path,
    parts: Sequence[str],
    in_round: list[str],
    started: int,
) -> None:
    told = measured(tmp_path, *parts)
    assert [list(one) for one in told["rounds"]] == [in_round] * 2
    assert len(applications) == started
    assert ("overload" in told, "scaling" in told) == ("overload" in parts, False)
    assert tables(told)


def test_a_peer_that_cannot_be_installed_is_left_out_and_named(
    applications: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment(peer: Peer, tell: Callable[[str], None]) -> Path | Unavailable:
        return Unavailable(peer, "no wheel") if peer.name == "original" else Path("python")

    monkeypatch.setattr(run, "environment", environment)
    told = measured(tmp_path, "peers")
    assert told["unavailable"] == {"original": "no wheel"}
    assert told["peers"] == {
        "fastapi_pool": {"title": "FastAPI and a thread pool", "version": "1.0"}
    }
    assert list(told["rounds"][0]["peers"]) == ["fastapi_pool"]


def test_no_environment_is_made_where_no_peer_is_measured(
    applications: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "environment", None)
    assert measured(tmp_path, "bare", "served", "idle", "scaling")["peers"] == {}
