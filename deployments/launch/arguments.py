"""What the configuration tells the application, checked before anything is started.

The application checks it too, but only when a cluster stands, half a minute later, and in the
middle of a traceback of Serve's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deployments.args import AppArgs
from deployments.credentials import NoCredentials, authentication
from deployments.launch.address import Address
from deployments.launch.refusal import CannotStart
from ingress.admission.addresses import is_loopback
from ingress.policy import unsafe_bind

_BUILDER = "deployments.app:build"


def check_arguments(config: Path) -> None:
    """Raise CannotStart where a configuration cannot be started, with what is wrong in one line."""
    content = _read(config)
    applications = content.get("applications")
    if not isinstance(applications, list) or not applications:
        raise CannotStart(f"{config}: no applications; see configs/serve.yaml for one")
    for number, application in enumerate(applications):
        place = f"{config}: applications.{number}"
        if not isinstance(application, Mapping):
            raise CannotStart(f"{place} is no mapping; see configs/serve.yaml for one")
        _check_prefix(application.get("route_prefix", "/"), place)
        if application.get("import_path") == _BUILDER:
            _check_args(application.get("args") or {}, place, Address.of(content).host)


def _read(config: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(config.read_text())
    except OSError as error:
        raise CannotStart(f"{config} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise CannotStart(f"{config} is no YAML: {why}") from None
    if not isinstance(content, Mapping):
        raise CannotStart(f"{config} is no mapping; see configs/serve.yaml for one")
    return content


def _check_prefix(prefix: object, place: str) -> None:
    if not isinstance(prefix, str) or not prefix.startswith("/"):
        raise CannotStart(f'{place}.route_prefix is {prefix!r}; it begins with a slash, as "/"')


def _check_args(args: object, place: str, host: str) -> None:
    try:
        admission = AppArgs.model_validate(args).ingress.admission
    except ValidationError as error:
        # AppArgs says what is wrong itself, all in one sentence.
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise CannotStart(f"{place}.args: {why}") from None
    try:
        authentication(admission)  # what the replica will read is on this machine
    except NoCredentials as missing:
        raise CannotStart(f"{place}.args: {missing}") from None
    danger = unsafe_bind(host, admission.auth, on_loopback=is_loopback(host))
    if danger is not None:
        raise CannotStart(f"{place}.args: {danger}")
