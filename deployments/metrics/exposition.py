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

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString
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
    by, at = f'replica="{_escaped(replica)}"', f'deployment="{_escaped(deployment)}"'
    return tuple(_rendered(metric, f"{at},{by}", by) for metric in registry.collect())


def page(replicas: Iterable[Families]) -> bytes:
    """The families of all replicas as one text; each head once, that of the first who has it."""
    heads: dict[str, list[str]] = {}
    for families in replicas:
        for family in families:
            heads.setdefault(family.name, [family.head]).append(family.samples)
    return "".join(part for parts in heads.values() for part in parts).encode()


def _rendered(metric: Metric, where: str, by: str) -> Family:
    """One family as text; prometheus_client's own renderer takes twice as long."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    text = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    created = f"{metric.name}_created"
    return Family(
        name,
        f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n",
        "".join(
            [
                _line(sample, by if "deployment" in sample.labels else where)
                for sample in metric.samples
                if sample.name != created
            ]
        ),
    )


def _line(sample: Sample, labels: str) -> str:
    for name, value in sample.labels.items():
        labels += f',{name}="{_escaped(value)}"'
    return f"{sample.name}{{{labels}}} {floatToGoString(sample.value)}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
