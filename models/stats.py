"""What happens in a scene, told from its recent label maps.

A label map is an integer picture ``[H, W]`` whose pixel is a class id; a window of
them is ``[T, H, W]`` with the time of each in seconds. Everything here is a pure
function of tensors, on whatever device they are.

Rules for what is not there. A figure that has no value is NaN in a tensor and
None in a result: the place of an absent class, the stability of a class that two
consecutive frames never showed, the speed of a class never seen twice in a row.
Shares, trends and presence have a value always: an absent class has share 0, and a
window of fewer than two instants has trend 0 and presence 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """One class over the window."""

    id: int
    label: str
    share: float  # mean part of the frame, 0..1
    trend_per_s: float  # change of that part per second
    stability: float | None  # mean IoU with the frame before, 0..1
    speed: float | None  # of the centroid, in frame widths per second
    centroid: tuple[float, float] | None  # x, y in 0..1, in the last frame that shows the class
    presence_s: float  # time for which the class was in view


@dataclass(frozen=True, slots=True)
class SceneStatistics:
    """The scene over the window; ``classes`` holds every class of the mode, by id."""

    frames: int
    window_s: float
    stability: float | None  # mean over the classes that have one
    classes: tuple[ClassStatistics, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dicts, tuples, numbers and None, ready for JSON."""
        return asdict(self)


def scene_statistics(label_maps: Tensor, times: Tensor, labels: Sequence[str]) -> SceneStatistics:
    """Everything below, for label maps ``[T, H, W]`` at ``times`` ``[T]`` in seconds.

    Raises:
        ValueError: shapes disagree, a pixel is no class, or time runs backwards.
    """
    classes = len(labels)
    _check(label_maps, times, classes)
    times = times.to(label_maps.device, torch.float64)
    shares = class_shares(label_maps, classes)
    places = centroids(label_maps, classes)
    stability = mask_stability(label_maps, classes)
    height, width = label_maps.shape[1:]
    columns = zip(
        labels,
        _mean(shares).tolist(),
        share_trend(shares, times).tolist(),
        stability.tolist(),
        centroid_speed(places, times, height / width).tolist(),
        last_place(places).tolist(),
        presence(shares, times).tolist(),
        strict=True,
    )
    return SceneStatistics(
        frames=len(times),
        window_s=float(times[-1] - times[0]) if len(times) else 0.0,
        stability=_known(float(stability.nanmean())),
        classes=tuple(
            ClassStatistics(i, label, share, trend, _known(iou), _known(speed), _point(xy), seen)
            for i, (label, share, trend, iou, speed, xy, seen) in enumerate(columns)
        ),
    )


def class_shares(label_maps: Tensor, classes: int) -> Tensor:
    """The part of each frame that each class covers: ``[T, H, W]`` to float64 ``[T, C]``."""
    return _areas(label_maps, classes) / (label_maps.shape[1] * label_maps.shape[2])


def share_trend(shares: Tensor, times: Tensor) -> Tensor:
    """Least-squares slope of each share, per second: ``[T, C]`` and ``[T]`` to ``[C]``."""
    if len(times) < 2 or times[0] == times[-1]:
        return shares.new_zeros(shares.shape[1])
    centred = times - times.mean()
    return centred @ shares / (centred @ centred)


def mask_stability(label_maps: Tensor, classes: int) -> Tensor:
    """Mean IoU of each class between consecutive frames: ``[T, H, W]`` to ``[C]``.

    A pair counts for a class that at least one of its frames shows: where the class
    comes or goes the IoU is 0. NaN for a class that no pair shows.
    """
    before, after = label_maps[:-1], label_maps[1:]
    areas = _areas(label_maps, classes)
    # A pixel outside the intersection is moved to an extra class, which is then dropped.
    kept = torch.where(before == after, before.long(), classes)
    intersection = _areas(kept, classes + 1)[:, :classes]
    union = areas[:-1] + areas[1:] - intersection
    return (intersection / union).nanmean(dim=0)  # 0/0, absent from both, is NaN


def centroids(label_maps: Tensor, classes: int) -> Tensor:
    """Mean place of each class's pixels, x then y in 0..1: ``[T, H, W]`` to ``[T, C, 2]``.

    The centre of the first of N pixels is at 0.5/N. NaN where the class is absent.
    """
    _, height, width = label_maps.shape
    columns = _pixel_centres(width, label_maps.device).expand(height, width)
    rows = _pixel_centres(height, label_maps.device)[:, None].expand(height, width)
    areas = _areas(label_maps, classes)
    return torch.stack(
        [_areas(label_maps, classes, weights) / areas for weights in (columns, rows)], dim=-1
    )


def centroid_speed(places: Tensor, times: Tensor, aspect: float) -> Tensor:
    """Path length over time of each centroid: ``[T, C, 2]`` and ``[T]`` to ``[C]``.

    In frame widths per second; ``aspect`` is height / width. Only steps between
    consecutive frames that both show the class count, for the path and for the time.
    NaN for a class with no such step.
    """
    steps = places.diff(dim=0) * places.new_tensor([1.0, aspect])
    lengths = torch.linalg.vector_norm(steps, dim=-1)
    seen = ~lengths.isnan()
    time = (times.diff()[:, None] * seen).sum(dim=0)
    return torch.where(time > 0, lengths.nansum(dim=0) / time, math.nan)


def last_place(places: Tensor) -> Tensor:
    """The last known centroid of each class: ``[T, C, 2]`` to ``[C, 2]``, NaN if never seen."""
    last = places.new_full(places.shape[1:], math.nan)
    for place in places:
        last = torch.where(place.isnan(), last, place)
    return last


def presence(shares: Tensor, times: Tensor) -> Tensor:
    """Seconds for which each class was in view: ``[T, C]`` and ``[T]`` to ``[C]``.

    A frame speaks for the time until the next one; the last frame speaks for none.
    """
    return ((shares[:-1] > 0) * times.diff()[:, None]).sum(dim=0)


def _areas(label_maps: Tensor, classes: int, weights: Tensor | None = None) -> Tensor:
    """Pixels per class and frame, float64 ``[T, C]``; with ``weights`` ``[H, W]``, their sum."""
    frames = len(label_maps)
    first_bin = torch.arange(frames, device=label_maps.device)[:, None, None] * classes
    bins = (label_maps.long() + first_bin).flatten()
    spread = None if weights is None else weights.expand(label_maps.shape).flatten()
    return torch.bincount(bins, spread, frames * classes).double().reshape(frames, classes)


def _pixel_centres(count: int, device: torch.device) -> Tensor:
    return (torch.arange(count, dtype=torch.float64, device=device) + 0.5) / count


def _mean(shares: Tensor) -> Tensor:
    return shares.mean(dim=0) if len(shares) else shares.new_zeros(shares.shape[1])


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _point(xy: Sequence[float]) -> tuple[float, float] | None:
    return None if math.isnan(xy[0]) else (xy[0], xy[1])


def _check(label_maps: Tensor, times: Tensor, classes: int) -> None:
    if label_maps.ndim != 3 or 0 in label_maps.shape[1:] or times.shape != label_maps.shape[:1]:
        raise ValueError(
            f"label maps {list(label_maps.shape)} at times {list(times.shape)}: "
            "expected [T, H, W] and [T] with H and W of at least 1"
        )
    if label_maps.numel() and not 0 <= int(label_maps.min()) <= int(label_maps.max()) < classes:
        raise ValueError(f"a label map holds a class outside 0 to {classes - 1}")
    if bool((times.diff() < 0).any()):
        raise ValueError("the times of label maps must not decrease")
