"""What one replica exposes to Prometheus, and how the replicas become one page.

Rules:

1. A replica renders its own samples, labelled with its ``deployment`` and its
   ``replica`` (Serve's unique id, never a peer's text), so that whoever collects
   them only joins strings. A sample that names a deployment itself keeps that name.
2. A family has one HELP and one TYPE on the page, however many replicas have it.
3. No ``_created`` series: every series is there at 0 from the start, so a restart is
   a reset to 0 under a new ``replica``, and a third of the page is saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from ray import serve


@dataclass(frozen=True, slots=True)
class Family:
    """One metric of one replica in Prometheus's text format: its two comments, its samples."""

    name: str
    head: str
    samples: str


Families = tuple[Family, ...]


class Exposition:
    """The registry of this replica as others are shown it, figures of its process included."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        self._registry = registry

    def families(self, asker: str | None = None) -> Families:
        """Every family of this replica; none where ``asker``, a replica's id, is this one."""
        context = serve.get_replica_context()
        if context.replica_tag == asker:
            return ()
        return rendered(self._registry, context.deployment, context.replica_tag)


def rendered(registry: CollectorRegistry, deployment: str, replica: str) -> Families:
    """The families of ``registry``, each sample labelled with where it is from."""
    labels = {"deployment": deployment, "replica": replica}
    return tuple(_rendered(metric, labels) for metric in registry.collect())


def page(replicas: Iterable[Families]) -> bytes:
    """The families of all replicas as one text; each head once, that of the first who has it."""
    heads: dict[str, list[str]] = {}
    for families in replicas:
        for family in families:
            heads.setdefault(family.name, [family.head]).append(family.samples)
    return "".join(part for parts in heads.values() for part in parts).encode()


@dataclass(frozen=True, slots=True)
class _One(Collector):
    metric: Metric

    def collect(self) -> Iterator[Metric]:
        yield self.metric


def _rendered(metric: Metric, labels: dict[str, str]) -> Family:
    labelled = Metric(metric.name, metric.documentation, metric.type)
    labelled.samples = [
        sample._replace(labels={**labels, **sample.labels})
        for sample in metric.samples
        if sample.name != f"{metric.name}_created"
    ]
    help_line, type_line, samples = generate_latest(_One(labelled)).decode().split("\n", 2)
    return Family(metric.name, f"{help_line}\n{type_line}\n", samples)
