"""The overload: cameras that offer several times what the application serves, for a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.load.process import under_load
from benchmarks.served import Running, Samples

CAMERA_FPS = 30.0
OVERLOAD = 5.0  # times what was served
_SAMPLE_S = 2.0
_WARMUP_S = 5.0


class Overload:
    """The same cameras for ours and for others, as many as ours could serve ``OVERLOAD`` of.

    Attributes:
        measured: what was served to a few clients, the cameras, and what became of them by server.
    """

    def __init__(self, pictures: Path, seconds: float, say: Callable[[str], None]) -> None:
        self.measured: dict[str, Any] = {}
        self._pictures = pictures
        self._seconds = seconds
        self._say = say

    def of_ours(self, app: Running) -> None:
        """Learn how many cameras are too many, and offer them."""
        closed = under_load(app, "closed", self._pictures, speaks="v1", clients=16, seconds=3)
        clients = max(2, round(OVERLOAD * closed["fps"] / CAMERA_FPS))
        self.measured |= {"served_fps": closed["fps"], "clients": clients}
        self.of("ours", app, "v1")

    def of(self, name: str, server: Running, speaks: str) -> None:
        """Offer the cameras to a server, whose memory is sampled meanwhile."""
        clients = self.measured["clients"]
        with Samples(server, _SAMPLE_S) as samples:
            offered = under_load(
                server,
                "paced",
                self._pictures,
                speaks=speaks,
                clients=clients,
                fps=CAMERA_FPS,
                warmup=_WARMUP_S,
                seconds=self._seconds,
            )
        offered["memory_bytes"] = samples.taken
        self.measured[name] = offered
        self._say(
            f"overload, {speaks}: {clients} cameras offer {offered['offered_fps']:.0f} frames/s, "
            f"{offered['fps']:.0f} are served, age p50 {offered['age_p50_ms']:.0f} ms, "
            f"p99 {offered['age_p99_ms']:.0f} ms"
        )
