"""The load generator as its parent runs it, and the account of what a server spends meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from benchmarks import frames
from benchmarks.load.process import Meter, under_load
from benchmarks.served import Running

FIGURES = {"fps": 10.0, "frames": 20, "load_cpu_s": 0.4}


def metered(*looks: dict[str, float]) -> Meter:
    read = iter(looks)
    meter = Meter(lambda: next(read))
    for _ in range(len(looks) // 2):
        meter.begin()
        meter.end()
    return meter


def test_cpu_is_told_in_milliseconds_a_frame_with_the_load_generators() -> None:
    told = metered({"ingress": 1.0}, {"ingress": 1.2}).told_with(dict(FIGURES))
    assert told["cpu_ms"] == {"ingress": pytest.approx(10.0), "load": pytest.approx(20.0)}
    assert "load_cpu_s" not in told
    assert told["cores"] > 0


def test_slices_are_added_up_and_what_lies_between_is_not_counted() -> None:
    looks = ({"ingress": 1.0}, {"ingress": 1.2}, {"ingress": 9.0}, {"ingress": 9.3})
    told = metered(*looks).told_with(dict(FIGURES))
    assert told["cpu_ms"]["ingress"] == pytest.approx(25.0)


def test_a_kind_that_came_or_went_during_a_slice_is_no_cost_below_nothing() -> None:
    told = metered({"gone": 5.0, "idle": 1.0}, {"new": 0.2, "idle": 1.0}).told_with(dict(FIGURES))
    assert set(told["cpu_ms"]) == {"new", "load"}


@pytest.fixture
def server() -> Iterator[Running]:
    """Answers every picture, in a thread of its own."""

    def answer(socket: ServerConnection) -> None:
        for _ in socket:
            socket.send(b"mask")

    with serve(answer, "127.0.0.1", 0) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield Running(f"ws://127.0.0.1:{port_of(listening)}/ws", lambda: [])
        listening.shutdown()
        thread.join()


def port_of(server: Server) -> int:
    port: int = server.socket.getsockname()[1]
    return port


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    frames.write([b"jpeg" * 10], tmp_path / "frames")
    return tmp_path / "frames"


def test_a_closed_loop_rests_between_its_slices(server: Running, pictures: Path) -> None:
    rests: list[None] = []
    options = {"speaks": "ws-binary", "clients": 2, "warmup": 0.01, "seconds": 0.1, "slices": 2}
    figures = under_load(server, "closed", pictures, lambda: rests.append(None), **options)
    assert len(rests) == 1
    assert len(figures["slices_fps"]) == 2
    assert figures["frames"] > 2
    assert (figures["bytes_up"], figures["bytes_down"]) == (40, 4)
    assert set(figures["cpu_ms"]) == {"load"}


def test_cameras_are_paced(server: Running, pictures: Path) -> None:
    figures = under_load(
        server, "paced", pictures, speaks="ws-binary", clients=2, warmup=0.0, seconds=1, fps=20
    )
    assert 1 < figures["frames"] <= 42
    assert figures["drops"] == {}
    assert len(figures["ages_ms"]) == 1


def test_a_load_that_fails_is_no_measurement(pictures: Path) -> None:
    nowhere = Running("ws://127.0.0.1:9/ws", lambda: [])
    with pytest.raises(RuntimeError, match=r"the load generator failed: .*benchmarks\.load closed"):
        under_load(nowhere, "closed", pictures, speaks="ws-binary", clients=1)
