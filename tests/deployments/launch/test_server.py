"""The server's process can be stopped, however its parent was started."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from deployments.launch.server import Server

SAYS = "#!/bin/sh\ngrep SigIgn /proc/$$/status\n"


def test_ctrl_c_is_heard_though_the_parent_was_started_with_an_ampersand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ``stop`` would wait a minute for an end that nobody told of, and then kill it."""
    if not psutil.LINUX:
        pytest.skip("reads /proc, which Linux has")
    stub = tmp_path / "serve"
    stub.write_text(SAYS)
    stub.chmod(0o700)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(stub))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with (tmp_path / "said").open("wb") as said:
            server = Server(tmp_path / "serve.yaml", dict(os.environ), said)
            server._process.wait(10)
    finally:
        signal.signal(signal.SIGINT, before)
    ignored = int((tmp_path / "said").read_text().split()[1], 16)
    assert not ignored >> (signal.SIGINT - 1) & 1
