"""The application with a bug in it: every request for statistics fails unforeseen.

``import_path: tests.faults.planted:build``. The product's code is untouched; a session
just meets an analyst that raises what no rule knows. And its transport is watched: a send
after the close, or after the end was received, is a bug that is counted as one.

No ``from __future__ import annotations`` here: Serve reads the annotation of ``build``.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

from ray.serve import Application

import deployments.app
from deployments.args import AppArgs
from deployments.ingress import Ingress
from ingress.disconnects import Disconnect
from ingress.door.connection import Transport
from ingress.door.transport import StarletteTransport
from ingress.service import Service
from ingress.session.life import Session


class WatchedTransport(StarletteTransport):
    """A transport that may be sent to before its end alone."""

    ended = False

    async def receive(self) -> str | bytes:
        try:
            return await super().receive()
        except Disconnect:
            self.ended = True
            raise

    async def send(self, message: str | bytes) -> None:
        assert not self.ended, "sent after the end"
        await super().send(message)

    async def close(self, code: int, reason: str) -> None:
        assert not self.ended, "closed after the end"
        self.ended = True
        await super().close(code, reason)


def watch_transports() -> None:
    """Have every session of this process over a ``WatchedTransport``."""
    begin = Session.__init__

    def watched(session: Session, service: Service, transport: Transport, *rest: Any) -> None:
        assert isinstance(transport, StarletteTransport)
        transport.__class__ = WatchedTransport
        begin(session, service, transport, *rest)

    Session.__init__ = watched  # type: ignore[method-assign, assignment]


class BuggyAnalyst:
    """Statistics with a bug."""

    async def scene(self, mode: str, masks: Sequence[tuple[float, bytes]]) -> Mapping[str, Any]:
        raise ZeroDivisionError("planted")


class PlantedIngress(Ingress):
    """The ingress with the buggy analyst."""

    async def __init__(self, *arguments: Any) -> None:  # type: ignore[misc]
        await super().__init__(*arguments)  # type: ignore[misc]
        object.__setattr__(self._service, "analyst", BuggyAnalyst())
        watch_transports()


def build(args: AppArgs) -> Application:
    """``deployments.app.build`` with the planted ingress."""
    with patch.object(deployments.app, "Ingress", PlantedIngress):
        return deployments.app.build(args)
