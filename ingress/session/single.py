"""One picture over HTTP, analyzed in the same fair batches as the streams."""

from __future__ import annotations

import asyncio

from ingress.dispatch.flight import Flight
from ingress.dispatch.flow import Flow
from ingress.service import Service
from ingress.wire.pictures import Frame
from models.view import View
from models.work import FrameRequest


class SingleFrame:
    """A ``Source`` of exactly one frame, and its ``Landing``."""

    def __init__(self, image: bytes, view: View, mode: str) -> None:
        loop = asyncio.get_running_loop()
        self._flight = Flight(
            self,
            self,
            Frame(0, 0, 0, image),
            FrameRequest(image, view, single=True),
            mode,
            loop.time(),
            0.0,
        )
        self.flow = Flow()  # until it is offered to a mode
        self._taken = False
        self._landed: asyncio.Future[None] = loop.create_future()

    @property
    def is_ready(self) -> bool:
        return not self._taken

    def take(self) -> Flight | None:
        self._taken = True
        self._flight.taken_at = asyncio.get_running_loop().time()
        return self._flight

    def land(self, flight: Flight) -> None:
        if not self._landed.done():
            self._landed.set_result(None)

    async def flight(self, service: Service) -> Flight:
        """The landed flight; raises TimeoutError where the mode took too long to answer."""
        dispatcher = service.dispatchers[self._flight.mode]
        self.flow = dispatcher.singles
        dispatcher.offer(self)
        try:
            async with asyncio.timeout(service.settings.batching.prepare_timeout_s):
                await self._landed
        finally:
            dispatcher.withdraw(self)
            if self._flight.outcome is None:
                dispatcher.abandon([self._flight])
        return self._flight
