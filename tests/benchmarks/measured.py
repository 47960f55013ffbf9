"""A run as it would be measured, small and round."""

from __future__ import annotations

from typing import Any

MACHINE = {
    "cores": 2,
    "processor": "a processor",
    "system": "Linux",
    "python": "3.11",
    "versions": {"ray": "2.60.0"},
}


def point(share: float, **figures: float) -> dict[str, Any]:
    return {
        "fps": 300 * share,
        "share": share,
        "bare_fps": 300.0,
        "p50_ms": 10.0,
        "p99_ms": 20.0,
        "bytes_up": 39000.0,
        "bytes_down": 2500.0,
        "cpu_ms": {"segmenter": 5.0, "load": 0.2},
        **figures,
    }


def one_round(share: float) -> dict[str, Any]:
    points = {"1": point(0.3, over_single_ms=3.5), "16": point(share), "64": point(share + 0.02)}
    return {
        "bare": {
            "model": {"fps": 400.0},
            "pipeline": {"fps": 300.0},
            "single": {"p50_ms": 6.0, "stages_ms": {"decode": 0.6, "inference": 4.0}},
            "of_model": 0.75,
        },
        "idle": {"raylet": 0.04, "ingress": 0.05},
        "served": {"v1 mask": points},
        "peers": {"original": {"16": point(0.1, p99_ms=400.0, bytes_down=80_000.0)}},
    }


def run(**parts: Any) -> dict[str, Any]:
    return {
        "when": "today",
        "machine": MACHINE,
        "rounds": [one_round(share) for share in (0.8, 0.9, 0.95)],
        "peers": {"original": {"title": "The original", "version": "1"}},
        "unavailable": {"mosec": "no wheel for this machine"},
        **parts,
    }


def overload(**figures: Any) -> dict[str, Any]:
    """Nine seconds of too many cameras: ages and memory that grow by one a second."""
    ours = {
        "fps": 200.0,
        "offered_fps": 1000.0,
        "age_p50_ms": 60.0,
        "age_p99_ms": 150.0,
        "ages_ms": [[60.0, 100.0 + second] for second in range(9)],
        "drops": {"superseded": 3},
        "frames": 1800,
        "least_served": 880,
        "most_served": 920,
        "memory_bytes": [[second, {"ingress": 100 + second}] for second in range(9)],
        **figures,
    }
    return {"clients": 2, "served_fps": 200.0, "ours": ours}
