"""The store's figures are what the store holds when they are read."""

from __future__ import annotations

import subprocess

from deployments.metrics.exposition import page, written
from deployments.metrics.store import StoreMetrics
from ingress.resume.memory_store import MemoryStore
from tests.tools import tool


class Held(MemoryStore):
    """A store that says what a test wants it to hold."""

    now = 0

    @property
    def held(self) -> int:
        return self.now


def test_what_is_held_is_read_when_asked_and_every_series_is_there_at_zero() -> None:
    store = Held(ttl_s=60, max_parked=10, max_parked_bytes=1000)
    registry = StoreMetrics(store, ("claim", "hold")).registry

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"segstream_{name}", labels)

    assert value("sessions", state="detached") == value("store_held_sessions") == 0
    assert value("store_kept_bytes") == value("store_claims_refused_total") == 0
    for question in ("claim", "hold"):
        assert value("store_calls_total", question=question) == 0
    for bound in ("number", "bytes"):
        assert value("store_evictions_total", bound=bound) == 0
    store.now = 3
    assert value("store_held_sessions") == 3


def test_promtool_has_nothing_to_say() -> None:
    store = MemoryStore(ttl_s=60, max_parked=10, max_parked_bytes=1000)
    text = page([written(StoreMetrics(store, ["claim"]).registry, "session-store", "r")])
    command = [tool("promtool", package="prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
