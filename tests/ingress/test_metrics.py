"""The metric table: complete from the start, named as Prometheus wants, bounded in labels."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client import generate_latest

from ingress.disconnects import DISCONNECTS, Disconnect
from ingress.lifecycle import State
from ingress.metrics import Metrics
from ingress.wire.words import DropCause

SUFFIXES = {"counter": ("_total",), "histogram": ("_seconds", "_frames")}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["person", "parts"])


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_every_series_is_there_at_zero_from_the_start(metrics: Metrics) -> None:
    found = samples(metrics)
    assert set(found.values()) == {0.0}
    for row in DISCONNECTS.values():
        labels = (("initiator", row.initiator.value), ("reason", row.name))
        assert ("segstream_ws_disconnects_total", labels) in found
    for cause in (*DropCause, "disconnected"):
        assert ("segstream_frames_dropped_total", (("cause", str(cause)),)) in found
    for mode in ("person", "parts"):
        for outcome in ("result", "error", "dropped"):
            labels = (("mode", mode), ("outcome", outcome))
            assert ("segstream_frames_total", labels) in found


def test_names_follow_prometheus(metrics: Metrics) -> None:
    for family in metrics.registry.collect():
        assert family.name.startswith("segstream_")
        assert family.documentation.endswith(".")
        if family.type in SUFFIXES:
            shown = family.name + ("_total" if family.type == "counter" else "")
            assert shown.endswith(SUFFIXES[family.type]), shown


def test_a_disconnect_counts_its_reason_its_length_and_its_keepalive(metrics: Metrics) -> None:
    metrics.disconnected(Disconnect("keepalive_timeout"), 12.0, State.OPEN)
    changed = {key for key, value in samples(metrics).items() if value}
    names = {name for name, _ in changed}
    assert ("segstream_ws_keepalive_timeouts_total", ()) in changed
    assert "segstream_ws_disconnects_total" in names
    assert ("segstream_ws_connection_duration_seconds_sum", ()) in changed


def test_connections_by_state_return_to_zero(metrics: Metrics) -> None:
    life = [State.NEW, State.ACCEPTED, State.OPEN, State.CLOSING, State.CLOSED]
    for before, after in pairwise(life):
        metrics.moved(before, after)
        open_now = metrics.registry.get_sample_value(
            "segstream_ws_connections_now", {"state": after}
        )
        assert open_now == (None if after is State.CLOSED else 1)
    metrics.disconnected(Disconnect("idle_timeout"), 1.0, last=State.CLOSING)
    for state in State:
        labels: dict[str, str] = {"state": state}
        assert not metrics.registry.get_sample_value("segstream_ws_connections_now", labels)


def test_the_text_is_what_prometheus_reads(metrics: Metrics) -> None:
    assert b"# TYPE segstream_ws_disconnects_total counter" in generate_latest(metrics.registry)
