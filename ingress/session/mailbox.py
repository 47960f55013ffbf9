"""Where the frames of one session wait for a call.

Rules
1. A mailbox is bounded and the newest frame wins; every frame that leaves it unanswered
   is told to the client and counted (``Delivery.drop``).
2. A frame leaves when a call takes it and the credit has a place, not before: so it is
   the newest one, and nothing is analyzed that may not be sent.
3. Beyond the bound the oldest leaves at once. Within it, where a dialect answers only the
   newest, the older ones leave when a call starts: had the newer frame displaced them on
   arrival, a client that sends the next as soon as one is dropped would spin (ADR 5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from ingress.dispatch.flight import Flight
from ingress.dispatch.flow import Flow
from ingress.service import Service
from ingress.session.account import Account
from ingress.session.credit import Credit
from ingress.session.delivery import Delivery
from ingress.session.dialects import Voice
from ingress.session.scene import Scene
from ingress.wire.pictures import Frame
from ingress.wire.words import DropCause
from models.work import FrameRequest


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame and when it came, in seconds of the loop's clock."""

    frame: Frame
    received_at: float


class Mailbox:
    """What comes in: the ``Source`` of one session for the dispatcher of its mode."""

    def __init__(
        self,
        service: Service,
        voice: Voice,
        scene: Scene,
        credit: Credit,
        delivery: Delivery,
        account: Account,
    ) -> None:
        self._service = service
        self._voice = voice
        self._scene = scene
        self._credit = credit
        self._delivery = delivery
        self._account = account
        self.flow = Flow()
        self._waiting: deque[Waiting] = deque()
        self._clock = asyncio.get_running_loop().time

    @property
    def size_bytes(self) -> int:
        """Pictures that wait."""
        return sum(len(item.frame.image) for item in self._waiting)

    @property
    def is_ready(self) -> bool:
        return bool(self._waiting) and self._credit.available > 0

    def arrive(self, frame: Frame) -> None:
        """A frame came in: the newest of the session."""
        self._account.arrived()
        self._waiting.append(Waiting(frame, self._clock()))
        room = self._voice.waiting_room(self._credit.limit, self._credit.outstanding)
        cause = DropCause.SUPERSEDED if self._credit.available > 0 else DropCause.NO_CREDIT
        while len(self._waiting) > room:
            self._let_go(self._waiting.popleft(), cause)
        self.offer()

    def refuse(self, frame: Frame) -> None:
        """A frame came in that is more than the session may send."""
        self._account.arrived()
        self._delivery.drop(frame, DropCause.RATE_LIMITED, self._scene.mode)

    def offer(self) -> None:
        """Queue for a call where a frame may leave."""
        if self.is_ready:
            self._service.dispatchers[self._scene.mode].offer(self)

    def take(self) -> Flight | None:
        now = self._clock()
        oldest = now - self._service.settings.limits.max_frame_age_s
        while self._waiting and self._waiting[0].received_at < oldest:
            self._let_go(self._waiting.popleft(), DropCause.STALE)
        if not self._waiting:
            return None
        if self._voice.answers_all:
            waiting = self._waiting.popleft()
        else:
            waiting = self._waiting.pop()
            self._clear(DropCause.SUPERSEDED)
        self._credit.reserve()
        request = FrameRequest(waiting.frame.image, self._scene.view)
        flight = Flight(
            self, self._delivery, waiting.frame, request, self._scene.mode, waiting.received_at, now
        )
        self._delivery.expect(flight)
        return flight

    def switch(self, mode: str) -> None:
        """Frames that wait now, and all later ones, go to ``mode``."""
        if mode != self._scene.mode:
            debt_ms = self._leave()
            self._scene.change(mode)
            self.owe(debt_ms)
            self.offer()

    def owe(self, debt_ms: float) -> None:
        """Turns that were had in advance, elsewhere or before a resume, delay the next ones."""
        self._service.dispatchers[self._scene.mode].admit(self.flow, debt_ms)

    def end(self) -> float:
        """The connection has ended: what waits is dropped, for a resume to tell; the debt stays."""
        debt_ms = self._leave()
        self._clear(DropCause.DISCONNECTED)
        return debt_ms

    def _leave(self) -> float:
        dispatcher = self._service.dispatchers[self._scene.mode]
        dispatcher.withdraw(self)
        return dispatcher.debt_ms(self.flow)

    def _clear(self, cause: DropCause) -> None:
        while self._waiting:
            self._let_go(self._waiting.popleft(), cause)

    def _let_go(self, waiting: Waiting, cause: DropCause) -> None:
        self._delivery.drop(waiting.frame, cause, self._scene.mode)
