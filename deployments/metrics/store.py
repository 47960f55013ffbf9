"""The metric table of the session store.

What it holds is read from the store itself when somebody asks, so that the figures
cannot drift from what they describe.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployments.metrics.table import Table
from ingress.resume.memory_store import MemoryStore


class StoreMetrics(Table):
    """One store: what it holds, and what it was asked."""

    def __init__(self, store: MemoryStore, questions: Iterable[str]) -> None:
        super().__init__()
        # The ingress has the other state of this family: attached.
        sessions = self._gauge("sessions", "Sessions now.", "state")
        sessions.labels("detached").set_function(lambda: store.parked)
        held = self._gauge("store_held_sessions", "Attached sessions that could be resumed.")
        held.set_function(lambda: store.held)
        parked = self._gauge("store_parked_bytes", "Kept for parked sessions.")
        parked.set_function(lambda: store.parked_bytes)
        calls = self._counter("store_calls", "Calls of the store.", "question")
        self.calls = {question: calls.labels(question) for question in questions}
        self.claims_refused = self._counter(
            "store_claims_refused", "Claims of a session that is not there, or not the client's."
        )
