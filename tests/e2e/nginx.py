"""nginx before the application, with the very block that docs/operations.md gives."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deployments.launch.configuration import ROOT
from deployments.launch.ports import free_port
from tests.tools import tool

OPERATIONS = ROOT / "docs" / "operations.md"

# In one process: its workers would be another user's, who may not enter a test's folder.
CONFIGURATION = """
master_process off;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
{block}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[str]:
    """The address at which nginx, which knows ``upstream``, serves it below a path of its own."""
    program = tool("nginx", package="nginx-light")
    block, path = documented(upstream)
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, block=block))
    # It returns once it listens.
    words = ["-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    process = psutil.Process(int((folder / "pid").read_text()))
    try:
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        process.terminate()
        process.wait(10)


def documented(upstream: str) -> tuple[str, str]:
    """The block of the manual, before ``upstream``, and the path that it serves."""
    found = re.search(r"```nginx\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    assert found, f"no nginx block in {OPERATIONS.name}"
    block, replaced = re.subn(r"(?<=proxy_pass )[^;]+", upstream, found[1])
    path = re.search(r"location (\S+)", block)
    assert replaced == 1
    assert path
    return block, path[1]
