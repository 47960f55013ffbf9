"""The cores that count are those that may be used, not those of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from deployments.cores import cores

V2, V1 = "0::/a/b\n", "5:memory:/a\n4:cpu,cpuacct:/a/b\n0::/a/b\n"


@pytest.fixture
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores, on all of which this process may run."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def system(root: Path, group: str, files: Mapping[str, str]) -> Path:
    """A file system whose cgroups say that."""
    for name, text in {"proc/self/cgroup": group, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def v2(group: str, text: str) -> dict[str, str]:
    return {f"sys/fs/cgroup{group}/cpu.max": text}


def v1(group: str, quota_us: int, period_us: int = 100_000) -> dict[str, str]:
    folder = f"sys/fs/cgroup/cpu{group}"
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota_us}\n",
        f"{folder}/cpu.cfs_period_us": f"{period_us}\n",
    }


@pytest.mark.usefixtures("_eight")
@pytest.mark.parametrize(
    ("group", "files", "counted"),
    [
        (V2, {}, 8),
        (V2, v2("/a/b", "max 100000\n"), 8),
        (V2, v2("/a/b", "200000 100000\n"), 2),
        (V2, v2("/a/b", "150000 100000\n"), 2),
        (V2, v2("/a/b", "1000 100000\n"), 1),
        (V2, v2("/a/b", "9900000 100000\n"), 8),
        (V2, v2("/a/b", "max 100000\n") | v2("/a", "300000 100000\n"), 3),
        ("0::/\n", v2("", "400000 100000\n"), 4),  # a container with a namespace of its own
        ("0::/../host\n", v2("", "400000 100000\n"), 4),
        (V2, v2("", "400000 100000\n"), 4),  # one that sees a path of its host
        (V2, v2("/a/b", "nonsense\n"), 8),
        (V2, v2("/a/b", "0 0\n"), 8),
        (V1, v1("/a/b", 200_000), 2),
        (V1, v1("/a/b", -1), 8),
        (V1, v1("/a/b", -1) | v1("", 50_000), 1),
        (V1, v1("/a/b", 250_000, 50_000), 5),
        ("5:memory:/a\n", v1("/a", 200_000), 8),
        ("", {}, 8),
    ],
)
def test_a_quota_caps_what_the_affinity_allows(
    tmp_path: Path, group: str, files: Mapping[str, str], counted: int
) -> None:
    assert cores(system(tmp_path, group, files)) == counted


@pytest.mark.usefixtures("_eight")
def test_a_system_without_cgroups_has_no_quota(tmp_path: Path) -> None:
    assert cores(tmp_path) == 8


@pytest.mark.parametrize(("counted", "said"), [(6, 6), (None, 1)])
def test_where_there_is_no_affinity_it_is_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: int | None, said: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert cores(tmp_path) == said


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_it_is_this_process_that_is_asked(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores(tmp_path) == len(allowed)
