"""As many cameras as offer five times what is served; the same ones to everyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.overload import Overload
from benchmarks.served import Running

OURS = Running("ws://127.0.0.1:9/ws", lambda: [])
THEIRS = Running("ws://127.0.0.1:10/ws", lambda: [])


@pytest.mark.parametrize(("served_fps", "cameras"), [(240.0, 40), (3.0, 2)])
def test_the_cameras_follow_from_what_is_served_and_go_to_peers_too(
    monkeypatch: pytest.MonkeyPatch, served_fps: float, cameras: int
) -> None:
    asked: list[tuple[Running, str, Any]] = []

    def under_load(server: Running, how: str, pictures: Path, **options: Any) -> dict[str, Any]:
        asked.append((server, how, options["clients"]))
        ages = {"age_p50_ms": 10.0, "age_p99_ms": 20.0}
        return {"fps": served_fps, "offered_fps": 30.0 * options["clients"], **ages}

    monkeypatch.setattr("benchmarks.overload.under_load", under_load)
    said: list[str] = []
    overload = Overload(Path("frames"), 6.0, said.append)
    overload.of_ours(OURS)
    overload.of("fastapi_pool", THEIRS, "ws-binary")
    assert asked == [
        (OURS, "closed", 16),
        (OURS, "paced", cameras),
        (THEIRS, "paced", cameras),
    ]
    measured = overload.measured
    assert list(measured) == ["served_fps", "clients", "ours", "fastapi_pool"]
    assert (measured["served_fps"], measured["clients"]) == (served_fps, cameras)
    assert measured["ours"]["memory_bytes"][0][1] == {}
    assert said[1].startswith(f"overload, ws-binary: {cameras} cameras offer {30 * cameras} ")
