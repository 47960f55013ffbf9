"""How a client arrives: admitted or turned away, greeted anew or welcomed back.

A plain client is greeted at once, a v1 client after its hello, which may have to say who it is. One
that names a session is greeted when the store has said what is left of it: all (it goes on, and is
sent again what it lacks), its settings (a new session begins with them), or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ingress.admission.gate import Visitor
from ingress.admission.quotas import Place
from ingress.admission.refusal import Refused
from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.lifecycle import State
from ingress.resume.comeback import Afresh, Resumed, come_back
from ingress.resume.drain import STOPPING
from ingress.resume.hold import Hold
from ingress.resume.parked import ControlRing, SessionSettings, new_token
from ingress.service import Service
from ingress.session.commands import Commands
from ingress.session.delivery import Delivery
from ingress.session.greeting import connected, welcome
from ingress.session.mailbox import Mailbox
from ingress.session.outbox import Outbox
from ingress.session.progress import Progress
from ingress.session.scene import Scene
from ingress.session.watch import Watch
from ingress.tasks import named
from ingress.wire.requests import Hello, ResumeRequest
from ingress.wire.words import RESUMED, Dialect


class Arrival:
    """The first words of one session."""

    def __init__(
        self,
        service: Service,
        connection: Connection,
        dialect: Dialect,
        visitor: Visitor,
        progress: Progress,
        scene: Scene,
        commands: Commands,
        mailbox: Mailbox,
        delivery: Delivery,
        outbox: Outbox,
        ring: ControlRing,
        watch: Watch,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._service = service
        self._connection = connection
        self._dialect = dialect
        self._visitor = visitor
        self._principal = visitor.principal
        self._place: Place | None = None
        self._progress = progress
        self._scene = scene
        self._commands = commands
        self._mailbox = mailbox
        self._delivery = delivery
        self._outbox = outbox
        self._ring = ring
        self._watch = watch
        self._tasks = tasks

    def enter(self) -> None:
        """Take a place among the ungreeted."""
        quotas = self._service.gate.quotas
        self._place = quotas.enter(self._visitor.address, give_way=self._give_way)

    def leave(self) -> None:
        """Give the place back."""
        if self._place is not None:
            self._place.leave()

    def _give_way(self) -> None:
        self._watch.end(Disconnect("overloaded", "others wait for this place, without a hello"))

    def admit(self) -> None:
        """Let a client in whose handshake was accepted; raises Disconnect."""
        if self._service.drainage.under_way:
            raise Disconnect("server_shutdown", STOPPING)
        plain = self._dialect is Dialect.PLAIN
        self._check_room(returning=not plain)
        if plain:
            self._take_place(returning=False)
            self._connection.greet()
            self._outbox.put(connected(self._service, self._scene))

    def greet(self, hello: Hello) -> None:
        """Answer a timely hello, now or when the store has answered."""
        gate = self._service.gate
        if gate.redeems(self._visitor, hello.token):
            self._tasks.create_task(self._redeem(hello, hello.token or ""), name=named("ticket"))
            return
        with _turned_away():
            self._principal = gate.sign_in(self._visitor, hello.token)
        self._go_in(hello)

    async def _redeem(self, hello: Hello, ticket: str) -> None:
        with _turned_away():
            self._principal = await self._service.gate.redeem(self._visitor, ticket)
        if self._connection.state is State.GREETING:
            self._go_in(hello)

    def _go_in(self, hello: Hello) -> None:
        """Greet who has signed in."""
        if hello.resume is None:
            self._begin(hello)
        else:
            self._check_room(returning=True)
            back = self._come_back(hello, hello.resume)
            self._tasks.create_task(back, name=named("return"))

    def _check_room(self, *, returning: bool) -> None:
        with _turned_away(), self._service.gate.counted():
            if not self._service.gate.quotas.has_room(returning=returning):
                raise Refused("sessions")

    def _take_place(self, *, returning: bool) -> None:
        assert self._place is not None
        with _turned_away(), self._service.gate.counted():
            self._place.greet(self.name, returning=returning)
        left_s = self._principal.left_s() if self._principal else None
        if left_s is not None:
            self._watch.expire_in(left_s)

    @property
    def name(self) -> str | None:
        """Of the principal that signed in, where one did."""
        return self._principal.name if self._principal else None

    async def _come_back(self, hello: Hello, request: ResumeRequest) -> None:
        token, resume = new_token(), self._service.settings.resume
        back = await come_back(
            self._service.store,
            request,
            self._visitor.origin,
            token,
            result_age_s=resume.result_age_s,
            timeout_s=2 * resume.store_timeout_s,
            principal=self.name,
        )
        if self._connection.state is not State.GREETING:
            return  # lost meanwhile; what was claimed stays for the client's next try
        resumes = self._service.metrics.session_resumes
        match back:
            case Resumed():
                resumes.labels(RESUMED).inc()
                self._go_on(hello, token, back)
            case Afresh(why, outcome, settings):
                resumes.labels(outcome).inc()
                self._begin(hello, why, settings)

    def _begin(
        self, hello: Hello, why: str | None = None, settings: SessionSettings | None = None
    ) -> None:
        """Greet a new session, with the settings of an old one where those are left."""
        self._take_place(returning=settings is not None)
        if settings is not None:
            self._commands.adopt(settings)
        visitor, in_force = self._visitor, self._commands.in_force
        hold = Hold.fresh(
            self._service.store, self._progress.session, new_token(), visitor.origin, in_force,
            self.name, visitor.address,
        )  # fmt: skip
        self._welcome(hold, hello, why=why)

    def _go_on(self, hello: Hello, token: str, back: Resumed) -> None:
        """Greet a session that resumes, and send again what its client lacks."""
        self._take_place(returning=True)
        self._progress.session = back.session
        self._progress.frame_seq = back.parked.frame_seq
        self._progress.last_request = back.parked.last_request
        self._commands.adopt(back.title.settings)
        self._mailbox.owe(back.parked.debt_ms)
        self._ring.restore(back.parked.control, back.parked.control_seq)
        title = replace(back.title, address=self._visitor.address)
        hold = Hold(self._service.store, back.session, token, title)
        self._welcome(hold, hello, resumed=True)
        for message in back.control:
            self._outbox.replay(message)
        self._delivery.resume(back.parked, back.last_seq, back.replayed)

    def _welcome(
        self, hold: Hold, hello: Hello, *, resumed: bool = False, why: str | None = None
    ) -> None:
        self._progress.hold = hold
        self._outbox.number(self._ring)
        self._tasks.create_task(hold.run(), name=named("hold"))
        self._connection.greet()
        self._outbox.put(
            welcome(
                self._service,
                self._scene,
                session=self._progress.session,
                resume_token=hold.token,
                resumed=resumed,
                reply_to=hello.id,
                why=why,
                last_request=self._progress.last_request if resumed else None,
            )
        )


@contextmanager
def _turned_away() -> Iterator[None]:
    """A refusal is the end of the connection."""
    try:
        yield
    except Refused as refused:
        raise refused.disconnect() from None
