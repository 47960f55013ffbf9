"""The configuration that is run, as far as it concerns who starts Ray.

Where it listens is decided here: the port of the command line wins over the file's. Of all that it
says to the application, only what concerns connections is read, for HAProxy is told of it through
the environment, and a stop must know how long a drain takes. What is wrong with it,
``deployments.launch.arguments`` tells.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deployments.args import IngressArgs

ROOT = Path(__file__).resolve().parents[2]
SERVE_YAML = ROOT / "configs" / "serve.yaml"


def configured(config: Path, port: int | None, scratch: Path) -> tuple[Path, dict[str, Any]]:
    """The configuration to run, and what it says; ``port`` overrides the file's."""
    content: dict[str, Any] = yaml.safe_load(config.read_text())
    http = content["http_options"] = content.get("http_options") or {}
    if port is None or port == http.get("port", 8000):
        return config, content
    http["port"] = port
    copy = scratch / "serve.yaml"
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy, content


def ingress_of(config: Path) -> IngressArgs:
    """What the configuration says of connections; of what is wrong there, the defaults."""
    for application in (yaml.safe_load(config.read_text()) or {}).get("applications") or ():
        with suppress(ValidationError):
            return IngressArgs.model_validate((application.get("args") or {}).get("ingress") or {})
    return IngressArgs()
