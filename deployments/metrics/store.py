"""The metric table of the session store.

What it holds is read from the store itself when somebody asks, so that the figures
cannot drift from what they describe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from deployments.metrics.table import Table
from ingress.resume.memory_store import Bound, MemoryStore


class StoreMetrics(Table):
    """One store: what it holds, and what it was asked."""

    def __init__(self, store: MemoryStore, questions: Iterable[str]) -> None:
        super().__init__()
        # The ingress has the other state of this family: attached.
        sessions = self._gauge("sessions", "Sessions now.", "state")
        sessions.labels("detached").set_function(lambda: store.parked)
        held = self._gauge("store_held_sessions", "Attached sessions that could be resumed.")
        held.set_function(lambda: store.held)
        kept = self._gauge("store_kept_bytes", "Memory that all sessions take, held or parked.")
        kept.set_function(lambda: store.kept_bytes)
        calls = self._counter("store_calls", "Calls of the store.", "question")
        self.calls = {question: calls.labels(question) for question in questions}
        evictions = self._counter(
            "store_evictions", "Sessions that left because there were too many.", "bound"
        )
        self.evictions = {bound: evictions.labels(bound) for bound in get_args(Bound)}
        self.claims_refused = self._counter(
            "store_claims_refused", "Claims of a session that is not there, or not the client's."
        )
