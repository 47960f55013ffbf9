"""Scene statistics of PNG masks, off the event loop."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from ray import serve

from deployments.metrics.exposition import page
from deployments.stats import StatsAnalyst
from models.pictures.label_map import encode_label_map


def mask(columns: int, shape: tuple[int, int] = (48, 64)) -> bytes:
    """A person in the first ``columns`` columns."""
    labels: NDArray[np.uint8] = np.zeros(shape, np.uint8)
    labels[:, :columns] = 1
    return encode_label_map(labels)


async def test_shares_and_presence_over_the_window() -> None:
    masks = [(float(t), mask(32)) for t in range(5)]
    scene = await StatsAnalyst("cpu").scene("person", masks)
    person = scene["classes"][1]
    assert (scene["frames"], scene["window_s"]) == (5, 4.0)
    assert (person["label"], person["share"], person["presence_s"]) == ("person", 0.5, 4.0)
    assert scene["stability"] == 1.0


async def test_no_masks_yet_is_an_empty_scene() -> None:
    scene = await StatsAnalyst("cpu").scene("parts", [])
    assert (scene["frames"], len(scene["classes"])) == (0, 6)


async def test_a_change_of_the_frames_shape_starts_a_new_window() -> None:
    masks = [(0.0, mask(32)), (1.0, mask(10, (64, 48))), (2.0, mask(10, (64, 48)))]
    assert (await StatsAnalyst("cpu").scene("person", masks))["frames"] == 2


async def test_what_a_replica_did_is_what_it_exposes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(deployment="stats", replica_tag="me")
    monkeypatch.setattr(serve, "get_replica_context", lambda: here)
    analyst = StatsAnalyst("cpu")
    await analyst.scene("person", [(0.0, mask(32))])
    with pytest.raises(KeyError):
        await analyst.scene("nobody", [(0.0, mask(32))])
    lines = page([await analyst.exposition("another")]).decode().splitlines()
    for outcome in ("done", "failed"):
        labels = f'deployment="stats",outcome="{outcome}",replica="me"'
        assert f"segstream_stats_calls_total{{{labels}}} 1.0" in lines
