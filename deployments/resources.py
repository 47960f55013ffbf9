"""How many GPUs a replica asks for. Pure arithmetic over what the cluster has.

``auto`` gives each replica a whole GPU while there are enough, and shares them
evenly, as 1/n of one, where there are more replicas than GPUs; without GPUs it
asks for none, so one configuration serves a laptop and a cluster.
"""

from __future__ import annotations

import math

from deployments.args import DeviceWish, GpuShare


class NoGpu(ValueError):
    """A GPU was asked for by name, and the cluster has none."""


def gpus_per_replica(
    device: DeviceWish, wish: GpuShare, cluster_gpus: float, replicas: int
) -> float:
    """GPUs for one replica.

    Args:
        device: what the deployment may run on.
        wish: a number, or ``auto``.
        cluster_gpus: GPUs that Ray sees.
        replicas: all replicas, of every deployment, that share these GPUs.

    Raises:
        NoGpu: ``device`` is ``cuda`` and the cluster has no GPU.
    """
    if device == "cpu":
        return 0.0
    if device == "cuda" and cluster_gpus <= 0:
        raise NoGpu("device is cuda, but Ray sees no GPU in this cluster; use device auto or cpu")
    if wish != "auto":
        return wish
    whole = math.floor(cluster_gpus)
    if whole <= 0:
        return 0.0
    # Ray keeps GPU fractions to four places; round down so that n of them fit in one GPU.
    return 1.0 if replicas <= whole else math.floor(1e4 / math.ceil(replicas / whole)) / 1e4
