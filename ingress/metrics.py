"""The metric table of one replica's connection layer (prometheus_client), and nothing else.

Every label is a closed set and every series exists at 0 from the start, so a
rate() is right from the first event and a missing series means a missing
replica. No session id, no text of a peer ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingress import tasks
from ingress.admission.refusal import REFUSALS
from ingress.disconnects import DISCONNECTS, Disconnect
from ingress.lifecycle import State
from ingress.wire.replies import SERVER_MESSAGES
from ingress.wire.requests import CLIENT_MESSAGES
from ingress.wire.text import type_of
from ingress.wire.words import OUTCOMES, DropCause

FRAME_OUTCOMES = ("result", "error", "dropped")
STAGES = ("queue", "call")  # what a call does within, the segmenter counts
MESSAGE_TYPES = {
    "in": sorted({type_of(m) for ms in CLIENT_MESSAGES.values() for m in ms} | {"frame", "bad"}),
    "out": sorted({type_of(m) for ms in SERVER_MESSAGES.values() for m in ms} | {"result"}),
}

Family = TypeVar("Family", Counter, Gauge, Histogram)

_LATENCY = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_STAGE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_DURATION = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_DRAIN = (0.1, 0.5, 1, 2, 5, 10, 20, 60, 300)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters, gauges and histograms of one replica, in a registry of their own."""

    def __init__(self, modes: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        modes = tuple(modes)

        self.connections = self._counter("ws_connections", "WebSocket connections accepted.")
        self.handshakes_rejected = self._counter(
            "ws_handshakes_rejected", "Clients kept out, before accept or at their hello.", "reason"
        )
        self.disconnects = self._counter(
            "ws_disconnects", "Ends of accepted connections.", "reason", "initiator"
        )
        self.keepalive_timeouts = self._counter(
            "ws_keepalive_timeouts", "Connections ended because the client fell silent."
        )
        self.sends_suppressed = self._counter(
            "ws_sends_suppressed", "Messages not sent because the connection had ended.", "state"
        )
        self.messages = self._counter("ws_messages", "Messages.", "direction", "type")
        self.message_bytes = self._counter("ws_message_bytes", "Payload bytes.", "direction")
        self.frames = self._counter("frames", "Frames by how they ended.", "mode", "outcome")
        self.frames_dropped = self._counter("frames_dropped", "Frames let go, by cause.", "cause")
        self.session_resumes = self._counter(
            "session_resumes", "Clients that came back for a session, by what they got.", "outcome"
        )
        self.unhandled_exceptions = self._counter(
            "unhandled_exceptions", "Bugs: exceptions that no rule foresaw."
        )

        self.open_connections = self._gauge("ws_connections_now", "Connections now.", "state")
        self.sessions = self._gauge("sessions", "Sessions now.", "state")
        self.session_buffer = self._gauge(
            "session_buffer_bytes", "Held for all sessions: frames, results, messages."
        )
        self.calls_in_flight = self._gauge("dispatcher_calls_in_flight", "Calls now.", "mode")
        self.waiting_sessions = self._gauge(
            "dispatcher_waiting_sessions", "Sessions with a frame that waits for a call.", "mode"
        )

        self._gauge("tasks", "Tasks of sessions and calls now.").set_function(tasks.under_way)

        self.connection_duration = self._histogram(
            "ws_connection_duration_seconds", "From accept to the end.", _DURATION
        )
        self.drain_duration = self._histogram(
            "drain_duration_seconds",
            "From the word to stop until the last client was gone.",
            _DRAIN,
        )
        self.heartbeat_rtt = self._histogram(
            "ws_heartbeat_rtt_seconds", "From a ping of the server to its pong.", _STAGE
        )
        self.frame_latency = self._histogram(
            "frame_latency_seconds", "Time of a frame in each stage.", _LATENCY, "mode", "stage"
        )
        self.frame_age = self._histogram(
            "frame_age_seconds", "Age of a frame when its result was ready.", _LATENCY, "mode"
        )
        self.batch_frames = self._histogram(
            "batch_frames", "Frames in a call to a model.", _BATCH, "mode"
        )
        self._touch_every_series(modes)

    def disconnected(self, disconnect: Disconnect, duration_s: float, last: State) -> None:
        """Account for the one end of an accepted connection, whose last state was ``last``.

        In one step, so that accepted = disconnects + connections now holds at every moment.
        """
        reason = disconnect.reason
        self.open_connections.labels(last.shown).dec()
        self.disconnects.labels(reason.name, reason.initiator).inc()
        self.connection_duration.observe(duration_s)
        if reason.name == "keepalive_timeout":
            self.keepalive_timeouts.inc()

    def moved(self, before: State, after: State) -> None:
        """Account for a connection that went from one state to another; the last is its end's."""
        if after is State.CLOSED:
            return
        if before is not State.NEW:
            self.open_connections.labels(before.shown).dec()
        self.open_connections.labels(after.shown).inc()

    def _touch_every_series(self, modes: tuple[str, ...]) -> None:
        for row in DISCONNECTS.values():
            self.disconnects.labels(row.name, row.initiator)
        for state in {state.shown for state in State}:
            self.sends_suppressed.labels(state)
            if state not in (State.NEW, State.CLOSED):
                self.open_connections.labels(state)
        for rejection in REFUSALS:
            self.handshakes_rejected.labels(rejection)
        for direction, types in MESSAGE_TYPES.items():
            self.message_bytes.labels(direction)
            for name in types:
                self.messages.labels(direction, name)
        for outcome in OUTCOMES:
            self.session_resumes.labels(outcome)
        for cause in DropCause:
            self.frames_dropped.labels(cause)
        for mode in modes:
            self._touch_mode(mode)

    def _touch_mode(self, mode: str) -> None:
        for outcome in FRAME_OUTCOMES:
            self.frames.labels(mode, outcome)
        for stage in STAGES:
            self.frame_latency.labels(mode, stage)
        for series in (self.frame_age, self.batch_frames):
            series.labels(mode)
        for gauge in (self.calls_in_flight, self.waiting_sessions):
            gauge.labels(mode)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return _found_once(Counter(f"segstream_{name}", text, labels, registry=self.registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return _found_once(Gauge(f"segstream_{name}", text, labels, registry=self.registry))

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        registry = self.registry
        return _found_once(
            Histogram(f"segstream_{name}", text, labels, registry=registry, buckets=buckets)
        )


def _found_once(family: Family) -> Family:
    """``family``, which remembers its series: each frame asks for a dozen, at 5 us a search.

    Safe because every label is a closed set: no series is ever removed, none comes from a peer.
    """
    family.labels = cache(family.labels)  # type: ignore[method-assign]
    return family
