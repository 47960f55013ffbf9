"""Replicas become one page: each sample says where it is from, each family has one head."""

from __future__ import annotations

import pickle
from collections import Counter as Multiset
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ray import serve

from deployments.metrics.exposition import Exposition, page, written
from deployments.metrics.models import SegmenterMetrics, StatsMetrics
from ingress.metrics import Metrics


def registry(frames: float, mode: str = "person") -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("frames", "Frames.", ["mode"], registry=registry).labels(mode).inc(frames)
    Histogram("age_seconds", "Age.", registry=registry, buckets=[1, 2]).observe(1.5)
    Gauge("now", "Sessions,\nor \\ so.", registry=registry).set(2**53)
    return registry


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_sample_says_where_it_is_from_and_keeps_its_value() -> None:
    found = samples(page([written(registry(3), "segmenter-main", "abc")]))
    where = {("deployment", "segmenter-main"), ("replica", "abc")}
    assert found == {
        ("frames_total", frozenset({*where, ("mode", "person")})): 3,
        ("age_seconds_bucket", frozenset({*where, ("le", "1.0")})): 0,
        ("age_seconds_bucket", frozenset({*where, ("le", "2.0")})): 1,
        ("age_seconds_bucket", frozenset({*where, ("le", "+Inf")})): 1,
        ("age_seconds_count", frozenset(where)): 1,
        ("age_seconds_sum", frozenset(where)): 1.5,
        ("now", frozenset(where)): 2**53,
    }


def test_replicas_share_one_head_per_family_and_their_samples_stay_together() -> None:
    text = page([written(registry(n), "segmenter-main", f"r{n}") for n in range(10)])
    lines = text.decode().splitlines()
    heads = Multiset(line.split()[2] for line in lines if line.startswith("#"))
    assert heads == {"frames_total": 2, "age_seconds": 2, "now": 2}
    (family,) = (f for f in text_string_to_metric_families(text.decode()) if f.name == "frames")
    assert sum(sample.value for sample in family.samples) == sum(range(10))
    assert len({sample.labels["replica"] for sample in family.samples}) == 10


def test_odd_label_values_are_escaped() -> None:
    odd = 'a"b\\c\nd'
    found = samples(page([written(registry(1, mode=odd), "d", "r")]))
    assert ("frames_total", frozenset({("deployment", "d"), ("replica", "r"), ("mode", odd)})) in (
        found
    )


def test_a_sample_that_names_a_deployment_itself_keeps_that_name() -> None:
    registry = CollectorRegistry()
    Counter("missing", "Missing.", ["deployment"], registry=registry).labels("stats")
    assert page([written(registry, "ingress", "r")]).decode().splitlines()[2:] == [
        'missing_total{deployment="stats",replica="r"} 0.0'
    ]


@pytest.mark.parametrize("table", [Metrics(["person"]), SegmenterMetrics(["person"])])
def test_where_it_is_from_is_all_that_is_added_and_created_series_all_that_is_left_out(
    table: Metrics | SegmenterMetrics,
) -> None:
    table.unhandled_exceptions.inc(1e17)
    ours = samples(page([written(table.registry, "d", "r")]))
    where = {("deployment", "d"), ("replica", "r")}
    theirs = {
        (name, labels | where): value
        for (name, labels), value in samples(generate_latest(table.registry)).items()
        if not name.endswith("_created")
    }
    assert ours == theirs


def test_no_replica_at_all_is_an_empty_page() -> None:
    assert page([]) == b""
    assert page([(), ()]) == b""


def test_families_travel_between_replicas() -> None:
    families = written(registry(1), "d", "r")
    assert pickle.loads(pickle.dumps(families)) == families


def test_tables_that_share_a_family_agree_on_its_head() -> None:
    tables = (Metrics(["person"]), SegmenterMetrics(["person"]), StatsMetrics())
    heads: dict[str, set[bytes]] = {}
    for table in tables:
        for family in written(table.registry, "d", "r"):
            heads.setdefault(family.name, set()).add(family.head)
    assert {name for name, said in heads.items() if len(said) > 1} == set()


def test_a_replica_shows_its_process_and_nothing_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = SimpleNamespace(deployment="stats", replica_tag="me")
    monkeypatch.setattr(serve, "get_replica_context", lambda: here)
    exposition = Exposition(registry(1))
    text = page([exposition.families("another")]).decode()
    assert 'process_resident_memory_bytes{deployment="stats",replica="me"}' in text
    assert 'frames_total{deployment="stats",mode="person",replica="me"} 1.0' in text
    assert exposition.families("me") == ()
