"""The configuration: the port of the command line wins, and the file stays as it is."""

from __future__ import annotations

from pathlib import Path

import yaml

from deployments.launch.configuration import configured


def test_another_port_is_written_to_a_copy(tmp_path: Path) -> None:
    original = tmp_path / "original.yaml"
    original.write_text("http_options: {host: 127.0.0.1, port: 8000}\napplications: []\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    given = {"http_options": {"host": "127.0.0.1", "port": 8000}, "applications": []}
    assert configured(original, None, scratch) == (original, given)
    copy, content = configured(original, 8123, scratch)
    assert content["http_options"] == {"host": "127.0.0.1", "port": 8123}
    assert copy.parent == scratch
    assert yaml.safe_load(copy.read_text()) == content
