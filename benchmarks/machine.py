"""What was measured on: cores, processor, and the versions that matter."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deployments.cores import cores

_PACKAGES = ("ray", "uvicorn", "websockets", "torch", "openvino", "opencv-python-headless", "numpy")


def describe() -> dict[str, Any]:
    return {
        "cores": cores(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def in_words(described: Mapping[str, Any]) -> str:
    """``describe`` in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in described["versions"].items())
    return (
        f"{described['cores']} cores ({described['processor']}), {described['system']}, "
        f"Python {described['python']}, {versions}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
