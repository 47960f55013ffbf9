"""The configuration that is run, as far as it concerns who starts Ray.

Where it listens is decided here: the port of the command line wins over the file's. Of all that it
says to the application, only what concerns connections is read, for HAProxy is told of it through
the environment, and a stop must know how long a drain takes. What is wrong with it, the deployment
tells.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import yaml
from pydantic import ValidationError

from deployments.args import IngressArgs

ROOT = Path(__file__).resolve().parents[2]
SERVE_YAML = ROOT / "configs" / "serve.yaml"


def configured(config: Path, port: int | None, scratch: Path) -> tuple[Path, str, int]:
    """The configuration to run, its host and its port; ``port`` overrides the file's."""
    content = yaml.safe_load(config.read_text())
    http = content.setdefault("http_options", {})
    host, own_port = http.get("host", "0.0.0.0"), http.get("port", 8000)
    if port is None or port == own_port:
        return config, host, own_port
    http["port"] = port
    copy = scratch / "serve.yaml"
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy, host, port


def ingress_of(config: Path) -> IngressArgs:
    """What the configuration says of connections; what is wrong there, the deployment tells."""
    for application in (yaml.safe_load(config.read_text()) or {}).get("applications") or ():
        with suppress(ValidationError):
            return IngressArgs.model_validate((application.get("args") or {}).get("ingress") or {})
    return IngressArgs()
