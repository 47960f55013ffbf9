"""The metric table of the session store (prometheus_client).

What it holds is read from the store itself when somebody asks, so that the figures
cannot drift from what they describe.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from deployments.metrics.models import unhandled_exceptions
from ingress.resume.memory_store import MemoryStore


class StoreMetrics:
    """One store: what it holds, and what it was asked."""

    def __init__(self, store: MemoryStore, questions: Iterable[str]) -> None:
        self.registry = registry = CollectorRegistry()
        self.unhandled_exceptions = unhandled_exceptions(registry)
        # The ingress has the other state of this family: attached.
        sessions = Gauge("segstream_sessions", "Sessions now.", ["state"], registry=registry)
        sessions.labels("detached").set_function(lambda: store.parked)
        Gauge(
            "segstream_store_held_sessions",
            "Attached sessions that could be resumed.",
            registry=registry,
        ).set_function(lambda: store.held)
        Gauge(
            "segstream_store_parked_bytes", "Kept for parked sessions.", registry=registry
        ).set_function(lambda: store.parked_bytes)
        calls = Counter(
            "segstream_store_calls", "Calls of the store.", ["question"], registry=registry
        )
        self.calls = {question: calls.labels(question) for question in questions}
        self.claims_refused = Counter(
            "segstream_store_claims_refused",
            "Claims of a session that is not there, or not the client's.",
            registry=registry,
        )
