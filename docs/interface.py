"""What others rely on beside the wire: the metrics' table, the yaml's schema, the Python client.

``python -m docs.interface > docs/interface.json``; a test keeps the two equal, so that none of it
changes without being seen in a review. The wire has docs/asyncapi.json.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from typing import Any, get_args

from prometheus_client import CollectorRegistry

import client
from deployments.args import AppArgs
from deployments.metrics.models import SegmenterMetrics, StatsMetrics
from deployments.metrics.store import StoreMetrics
from deployments.session_store import Question
from ingress.metrics import Metrics
from ingress.resume.memory_store import MemoryStore
from models.catalog import MODES


def metrics() -> dict[str, Any]:
    """Each deployment's families: type, help, and the labels of every series."""
    store = MemoryStore(ttl_s=1, max_parked=1, max_parked_bytes=1)
    return {
        "ingress": _families(Metrics(MODES).registry),
        "segmenter": _families(SegmenterMetrics(MODES).registry),
        "stats": _families(StatsMetrics().registry),
        "session-store": _families(StoreMetrics(store, get_args(Question)).registry),
    }


def _families(registry: CollectorRegistry) -> dict[str, Any]:
    return {
        family.name: {
            "type": family.type,
            "help": family.documentation,
            "labels": _closed_sets(sample.labels for sample in family.samples),
        }
        for family in registry.collect()
    }


def _closed_sets(series: Any) -> dict[str, list[str]]:
    """The values of each label, the buckets of histograms left out."""
    values: dict[str, set[str]] = {}
    for labels in series:
        for name, value in labels.items():
            values.setdefault(name, set()).add(value)
    return {name: sorted(found) for name, found in values.items() if name != "le"}


def python_client() -> dict[str, Any]:
    """The names that ``client`` exports, and how each is called."""
    return {name: _face(getattr(client, name)) for name in client.__all__}


def _face(value: Any) -> Any:
    if not inspect.isclass(value):
        return _how_called(value) if callable(value) else "a type"
    inherited = set(dir(Exception)) | {"real", "imag", "denominator", "numerator"}
    names = sorted(n for n in dir(value) if not n.startswith("_") and n not in inherited)
    return {name: _how_called(getattr(value, name, None)) for name in names}


def _how_called(member: Any) -> str:
    if not inspect.isfunction(member):
        return "a value"
    return re.sub(" at 0x[0-9a-f]+", "", str(inspect.signature(member)))


def all_of_it() -> dict[str, Any]:
    """What docs/interface.json holds."""
    settings = AppArgs.model_json_schema()
    return {"metrics": metrics(), "settings": settings, "client": python_client()}


if __name__ == "__main__":
    json.dump(all_of_it(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
