"""GPUs by arithmetic: this path has not met a GPU, its choices are checked here."""

from __future__ import annotations

import pytest

from deployments.args import DeviceWish, GpuShare
from deployments.resources import NoGpu, gpus_per_replica


@pytest.mark.parametrize(
    ("device", "wish", "gpus", "replicas", "share"),
    [
        ("auto", "auto", 0, 1, 0.0),
        ("auto", "auto", 1, 1, 1.0),
        ("auto", "auto", 8, 4, 1.0),
        ("auto", "auto", 1, 2, 0.5),
        ("auto", "auto", 1, 3, 0.3333),
        ("auto", "auto", 2, 5, 0.3333),
        ("cuda", "auto", 2, 2, 1.0),
        ("cuda", 0.25, 1, 4, 0.25),
        ("cpu", "auto", 8, 1, 0.0),
        ("auto", 0.5, 0, 1, 0.5),
    ],
)
def test_shares(
    device: DeviceWish, wish: GpuShare, gpus: float, replicas: int, share: float
) -> None:
    assert gpus_per_replica(device, wish, gpus, replicas) == share


@pytest.mark.parametrize("gpus", [1, 2, 3, 8])
@pytest.mark.parametrize("replicas", range(1, 20))
def test_all_replicas_fit_on_the_gpus(gpus: int, replicas: int) -> None:
    share = gpus_per_replica("auto", "auto", gpus, replicas)
    assert int(1 / share + 1e-9) * gpus >= replicas


def test_cuda_without_a_gpu_fails_with_advice() -> None:
    with pytest.raises(NoGpu, match="use device auto or cpu"):
        gpus_per_replica("cuda", "auto", 0, 1)
