"""The metric table of the session store (prometheus_client).

What it holds is read from the store itself when somebody asks, so that the figures
cannot drift from what they describe.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from deployments.model_metrics import unhandled_exceptions
from ingress.resume import MemoryStore


class StoreMetrics:
    """One store: what it holds, and what it was asked."""

    def __init__(self, store: MemoryStore, questions: Iterable[str]) -> None:
        self.registry = registry = CollectorRegistry()
        self.unhandled_exceptions = unhandled_exceptions(registry)
        held = Gauge(
            "segstream_store_sessions", "Sessions in the store.", ["state"], registry=registry
        )
        held.labels("held").set_function(lambda: store.held)
        held.labels("parked").set_function(lambda: store.parked)
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
