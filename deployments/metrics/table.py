"""The metrics of a replica that is no ingress (prometheus_client): a registry, and its families.

The rules are those of ``ingress/metrics.py``: labels are closed sets, every series is there at 0
from the start. The names are the deployment's own, so that a sum over a family never counts a
frame twice; ``unhandled_exceptions`` alone is one family for the whole application.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Table:
    """What a deployment counts; each has a table of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.unhandled_exceptions = self._counter(
            "unhandled_exceptions", "Bugs: exceptions that no rule foresaw."
        )

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"segstream_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"segstream_{name}", about, labels, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: Sequence[float], *labels: str
    ) -> Histogram:
        name = f"segstream_{name}"
        return Histogram(name, about, labels, registry=self.registry, buckets=buckets)
