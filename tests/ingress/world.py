"""A service of the connection layer with fakes behind it.

Everything between the fakes is the real thing; what a test wants otherwise it says
in groups of settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ingress.metrics import Metrics
from ingress.service import Service
from ingress.settings import IngressSettings
from ingress.wire.replies import ModeInfo
from models.catalog import MODES
from tests.ingress.fakes import FakeAnalyst, FakeAnalyzer, FakeCensus, FakeStore


@dataclass
class World:
    """A service and the fakes behind it."""

    service: Service
    analyzer: FakeAnalyzer
    analyst: FakeAnalyst
    store: FakeStore

    def count(self, name: str, **labels: str) -> float:
        """One sample of the service's metrics, 0.0 where it does not exist."""
        return self.service.metrics.registry.get_sample_value(f"segstream_{name}", labels) or 0.0

    def total(self, name: str) -> float:
        """The sum over a metric's samples of exactly that name."""
        families = self.service.metrics.registry.collect()
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"segstream_{name}"
        )


def mode_info(name: str) -> ModeInfo:
    spec = MODES[name]
    return ModeInfo(
        name=name,
        title=spec.title,
        labels=spec.labels,
        palette=spec.palette,
        input_size=spec.input_size,
    )


MakeWorld = Callable[..., World]


def new_world(store: FakeStore | None = None, **groups: Mapping[str, Any]) -> World:
    """A service with these groups of settings, and fakes behind it; ``store`` may be shared."""
    analyzer, analyst = FakeAnalyzer(), FakeAnalyst()
    settings = IngressSettings.model_validate(groups)
    store = store or FakeStore(settings.resume)
    service = Service(
        settings=settings,
        modes={name: mode_info(name) for name in MODES},
        analyzer=analyzer,
        analyst=analyst,
        census=FakeCensus(),
        store=store,
        metrics=Metrics(MODES),
        pixels_of=len,
    )
    store.rolls.append(service.roll)
    return World(service, analyzer, analyst, store)
