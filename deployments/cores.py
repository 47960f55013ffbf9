"""How many cores this process may use: what its threads are counted by.

The kernel says which cores (the affinity), and a container's quota how much time on them (the
``cpu`` controller of cgroups): of 64 cores and a quota of two, more than two threads only wait for
each other. Where a system has neither, as macOS, it is the cores of the machine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def cores(root: Path = Path("/")) -> int:
    """The cores that this process may use, a part of one counted as one; ``root`` has /proc."""
    quota = min(_quotas(root), default=math.inf)
    return max(1, min(_allowed(), math.ceil(min(quota, 2**16))))


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The quotas of the group that this process is in and of all above it: the least is in force.

    A container may see paths of its host that it cannot open, and its own group at the top.
    """
    for controllers, group in _groups(root):
        for folder in (group, *group.parents):
            here = folder.relative_to("/")
            if not controllers:
                yield from _quota(root / "sys/fs/cgroup" / here / "cpu.max")
            elif "cpu" in controllers.split(","):
                v1 = root / "sys/fs/cgroup/cpu" / here
                yield from _quota(v1 / "cpu.cfs_quota_us", v1 / "cpu.cfs_period_us")


def _groups(root: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """The groups of this process; cgroups v2 have one, of which no controllers are named."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            yield controllers, PurePosixPath(group)


def _quota(*files: Path) -> Iterator[float]:
    """Cores' worth of time, where ``files`` have one: microseconds, and of how many each."""
    # ``max``, or -1 in v1, is none.
    with suppress(OSError, ValueError):
        time_us, period_us = map(int, " ".join(file.read_text() for file in files).split())
        if time_us > 0 and period_us > 0:
            yield time_us / period_us
