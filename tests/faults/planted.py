"""The application with a bug in it: every request for statistics fails unforeseen.

``import_path: tests.faults.planted:build``. The product's code is untouched; a session
just meets an analyst that raises what no rule knows.

No ``from __future__ import annotations`` here: Serve reads the annotation of ``build``.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

from ray.serve import Application

import deployments.app
from deployments.args import AppArgs
from deployments.ingress import Ingress


class BuggyAnalyst:
    """Statistics with a bug."""

    async def scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> Mapping[str, Any]:
        raise ZeroDivisionError("planted")


class PlantedIngress(Ingress):
    """The ingress with the buggy analyst."""

    async def __init__(self, *arguments: Any) -> None:  # type: ignore[misc]
        await super().__init__(*arguments)  # type: ignore[misc]
        object.__setattr__(self._service, "analyst", BuggyAnalyst())


def build(args: AppArgs) -> Application:
    """``deployments.app.build`` with the planted ingress."""
    with patch.object(deployments.app, "Ingress", PlantedIngress):
        return deployments.app.build(args)
