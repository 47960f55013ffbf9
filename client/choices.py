"""What the server confirmed to this client: asked for again where a new session lacks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingress.wire.replies import ModeChanged, ServerMessage, VizUpdated, Welcome
from ingress.wire.requests import ChangeMode, ClientMessage, SubscribeStats, UpdateViz


class Choices:
    """Mode, view and subscription; nothing of them before the first confirmation."""

    def __init__(self) -> None:
        self._mode: str | None = None
        self._viz: Mapping[str, Any] = {}
        self._stats_every_s: float = 0.0

    def on_confirmed(self, message: ServerMessage) -> None:
        """Keep what is in force from now on."""
        match message:
            case ModeChanged(model_mode=mode):
                self._mode = mode
            case VizUpdated(settings=settings):
                self._viz = settings

    def on_subscribed(self, interval_s: float) -> None:
        self._stats_every_s = interval_s

    def lacking(self, welcome: Welcome) -> list[ClientMessage]:
        """The requests that bring a new session to them.

        Each is to be sent after the reply to the one before: which classes a view may name
        depends on the mode.
        """
        requests: list[ClientMessage] = []
        mode = self._mode or welcome.mode
        if mode != welcome.mode:
            requests.append(ChangeMode(type="change_mode", model_mode=mode))
        viz = {k: v for k, v in self._fitting(mode, welcome).items() if v != welcome.viz.get(k)}
        if viz:
            requests.append(UpdateViz(type="update_viz", settings=viz))
        if self._stats_every_s:
            requests.append(SubscribeStats(type="subscribe_stats", interval_s=self._stats_every_s))
        return requests

    def _fitting(self, mode: str, welcome: Welcome) -> dict[str, Any]:
        """The view without the classes that the mode lacks, as on the server."""
        count = next((len(known.labels) for known in welcome.modes if known.name == mode), 0)
        viz = dict(self._viz)
        if viz.get("class_filter"):
            viz["class_filter"] = [c for c in viz["class_filter"] if c < count] or None
        return viz
