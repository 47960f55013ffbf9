"""Scene statistics of one session's recent masks, computed in torch off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from deployments.metrics.exposition import Exposition, Families
from deployments.metrics.models import StatsMetrics
from deployments.serve.logs import adopt_serve_logging
from models.catalog import MODES
from models.pictures.label_map import decode_label_map
from models.stats import scene_statistics


class StatsAnalyst:
    """One replica; stateless, so any replica serves any session."""

    def __init__(self, device: Literal["auto", "cuda", "cpu"]) -> None:
        adopt_serve_logging()
        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._metrics = StatsMetrics()
        self._exposition = Exposition(self._metrics.registry)
        self._device = torch.device("cuda" if on_gpu else "cpu")

    async def scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> dict[str, Any]:
        """Statistics of ``masks``: (seconds, PNG label map of ``mode``), oldest first."""
        with self._metrics.call():
            return await asyncio.to_thread(self._scene, mode, masks)

    async def exposition(self, asker: str) -> Families:
        """The metrics of this replica, for the ingress replica that asks."""
        return self._exposition.families(asker)

    def _scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> dict[str, Any]:
        label_maps = [decode_label_map(png) for _, png in masks]
        times = [seconds for seconds, _ in masks]
        # A client that changes its frame's shape starts a new window: one stack, one shape.
        shape = label_maps[-1].shape if label_maps else (1, 1)
        kept = [i for i, label_map in enumerate(label_maps) if label_map.shape == shape]
        stack = np.stack([label_maps[i] for i in kept]) if kept else np.empty((0, 1, 1), np.uint8)
        moments = torch.tensor([times[i] for i in kept], dtype=torch.float64)
        labels = MODES[mode].labels
        return scene_statistics(torch.from_numpy(stack).to(self._device), moments, labels).to_dict()
