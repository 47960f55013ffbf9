"""A world in which connections live and die: what ``test_life`` plays with, and its referee.

Replicas share one store and can be killed. Wires check what reaches them, the loop
checks after each of its turns what must hold at every moment, and clients check
what they are told against what they have sent. All of it runs on virtual time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ingress.disconnects import DISCONNECTS, Disconnect
from ingress.lifecycle import State
from ingress.resume.parked import Claim, ClaimRefused, Parked, Renewal, StoreLost, Title
from ingress.session.life import Session
from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import Dialect
from models.view import View
from tests.ingress.conftest import FakeStore, FakeTransport, World, new_world
from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")

EPSILON_S = 0.01
ORIGIN = "https://page.example"
GROUPS: dict[str, dict[str, Any]] = {
    "keepalive": {"heartbeat_s": 4, "timeout_s": 4},
    "limits": {
        "max_in_flight": 3,
        "max_frame_bytes": 1024,
        "max_control_bytes": 1024,
        "max_message_bytes": 2400,
        "max_frame_age_s": 2,
        "max_commands": 3,
        "outbox_messages": 24,
        "outbox_bytes": 16384,
        "hello_timeout_s": 3,
        "idle_timeout_s": 60,
        "send_timeout_s": 3,
        "close_timeout_s": 1,
        "credit_timeout_s": 9,
    },
    "batching": {"max_calls": 2, "call_timeout_s": 5, "prepare_timeout_s": 8},
    "resume": {"ttl_s": 24, "ring_messages": 12, "ring_bytes": 8192, "store_timeout_s": 0.8},
    "drain": {"grace_s": 9, "pace_s": 0.5},
}
TTL_S = 24.0
RENEW_S = TTL_S / 3


class Planted(Exception):
    """A bug that the test put there."""


class WatchfulLoop(VirtualTimeLoop):
    """Calls ``after_turn`` after each turn, so that "at every moment" can be meant."""

    after_turn: Callable[[], None] = staticmethod(lambda: None)

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        self.after_turn()


class Wire(FakeTransport):
    """A transport that lets nothing through that must not be, and times every await."""

    def __init__(self) -> None:
        super().__init__()
        self.wrongs: list[str] = []
        self.over = False  # ``receive`` has said so
        self.closing = False
        self.ever_stalled = False
        self.sent_at: list[float] = []
        self._flow = asyncio.Event()
        self._began: dict[str, float] = {}

    @property
    def unread(self) -> int:
        """What the peer sent and nobody has received."""
        return self._coming.qsize()

    def stall(self) -> None:
        """Take nothing more."""
        self.stalled = self.ever_stalled = True

    def flow(self) -> None:
        """Take again."""
        self.stalled = False
        self._flow.set()
        self._flow = asyncio.Event()

    async def _pass(self) -> None:
        while self.stalled:
            await self._flow.wait()
        await super()._pass()

    async def accept(self, subprotocol: str | None) -> None:
        with self._timed("accept"):
            while self.stalled:
                await self._flow.wait()
            await super().accept(subprotocol)

    async def receive(self) -> str | bytes:
        try:
            return await super().receive()
        except Disconnect:
            self.over = True
            raise

    async def send(self, message: str | bytes) -> None:
        self._check("send", self.over or self.closing)
        with self._timed("send"):
            await super().send(message)
        self.sent_at.append(asyncio.get_running_loop().time())

    async def close(self, code: int, reason: str) -> None:
        self._check("close", self.over or self.closing)
        self.closing = True
        if code in (1005, 1006, 1015) or len(reason.encode()) > 123:
            self.wrongs.append(f"close {code} {reason}")
        with self._timed("close"):
            await super().close(code, reason)

    def overdue(self, now: float) -> list[str]:
        """Awaits that go on past their deadline."""
        return [what for what, began in self._began.items() if now > began + _limit(what)]

    def _check(self, what: str, wrong: bool) -> None:
        if wrong or what in self._began:
            self.wrongs.append(f"{what}: over {self.over}, closing {self.closing}, {self._began}")

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        clock = asyncio.get_running_loop().time
        self._began[what] = clock()
        try:
            yield
        finally:
            if clock() > self._began.pop(what) + _limit(what):
                self.wrongs.append(f"{what} ended late")


def _limit(what: str) -> float:
    limits = GROUPS["limits"]
    return EPSILON_S + float(limits["close_timeout_s" if what == "close" else "send_timeout_s"])


class StoreLine(FakeStore):
    """One replica's line to the store that all share: slow, cut, or dead with its replica.

    What was asked arrives after half the delay even where the asker no longer waits for
    the answer; an answer that does not come in ``store_timeout_s`` is StoreLost.
    """

    def __init__(self, shared: FakeStore) -> None:
        self.memory = shared.memory
        self.rolls = []
        self._shared = shared
        self._timeout_s = float(GROUPS["resume"]["store_timeout_s"])
        self.dead = False

    async def _ask(self, act: Callable[[float], T]) -> T:
        loop = asyncio.get_running_loop()
        delay_s, answer = self._shared.delay_s, loop.create_future()

        def arrive() -> None:
            try:
                said: Any = act(loop.time())
            except ClaimRefused as refused:
                said = refused
            if not answer.done():
                answer.set_result(said)

        try:
            async with asyncio.timeout(self._timeout_s):
                if self.dead or self._shared.lost:
                    await asyncio.sleep(delay_s)
                    raise StoreLost("the store does not answer")
                if delay_s:
                    loop.call_later(delay_s / 2, arrive)
                else:
                    loop.call_soon(arrive)
                said = await answer
                await asyncio.sleep(delay_s / 2)
        except TimeoutError:
            raise StoreLost("the store does not answer in time") from None
        if isinstance(said, ClaimRefused):
            raise said
        return said  # type: ignore[no-any-return]

    async def hold(self, session: str, title: Title) -> None:
        await self._ask(lambda now: self.memory.hold(session, title, now))

    async def park(self, session: str, title: Title, parked: Parked) -> bool:
        return await self._ask(lambda now: self.memory.park(session, title, parked, now))

    async def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, *, orphaned: bool
    ) -> Claim:
        return await self._ask(
            lambda now: self.memory.claim(session, token, origin, new_token, now, orphaned=orphaned)
        )

    async def release(self, session: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                return any([await roll.release(session) for roll in self._shared.rolls])
        except TimeoutError:
            return False

    async def forget(self, session: str, title: Title) -> None:
        await self._ask(lambda now: self.memory.forget(session, title, now))

    async def renew(self, held: Mapping[bytes, str]) -> Renewal:
        return await self._ask(lambda now: self.memory.renew(held, now))


def _children(metric: Any) -> list[Any]:
    """The values of all series of a metric: looked up once, they are read at every turn."""
    return [child._value for child in metric._metrics.values()]


class Replica:
    """One ingress replica and its connections."""

    def __init__(self, shared: FakeStore) -> None:
        self.line = StoreLine(shared)
        self.world: World = new_world(self.line, **GROUPS)
        self.service = self.world.service
        shared.rolls.append(self.service.roll)
        self._shared = shared
        self.lives: list[Life] = []
        self.landed: dict[bytes, float] = {}  # by picture, when its result was made
        self.renewing = asyncio.create_task(self.service.roll.run())
        self.draining: asyncio.Task[None] | None = None
        self.drained = 0  # connections from before the drain
        metrics = self.service.metrics
        self._accepted = metrics.connections._value
        self._ended = _children(metrics.disconnects)
        self._now = _children(metrics.open_connections)
        self._resumes = metrics.session_resumes
        self._bugs = metrics.unhandled_exceptions._value

    def balance(self) -> None:
        """What must hold at every moment."""
        now = [value.get() for value in self._now]
        ended = sum(value.get() for value in self._ended)
        assert min(now) >= 0, "a gauge is negative"
        assert self._accepted.get() == ended + sum(now), "accepted = disconnects + open"
        assert len(self.service.roll) == sum(now), "the roll has the open ones"

    def _now_values(self) -> list[float]:
        return [value.get() for value in self._now]

    @property
    def bugs(self) -> float:
        return float(self._bugs.get())

    def drain(self) -> None:
        if self.draining is None:
            self.drained = len(self.lives)
            self.draining = asyncio.create_task(self.service.drainage.run())

    def kill(self) -> None:
        """As SIGKILL would: nothing of it reaches a peer or the store any more."""
        self.line.dead = True
        self._shared.rolls.remove(self.service.roll)
        self.renewing.cancel()
        if self.draining:
            self.draining.cancel()
        for life in self.lives:
            life.killed = not life.task.done()
            life.wire.dead = True
            life.wire.stalled = False
            life.task.cancel()

    async def close(self) -> None:
        self.renewing.cancel()
        tasks = [self.renewing, *([self.draining] if self.draining else [])]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.service.close()


class Life:
    """One connection: its wire, its session, what was done to it and what was logged of it."""

    def __init__(
        self, replica: Replica, dialect: Dialect, origin: str | None = ORIGIN,
        *, stalled: bool = False, dead: bool = False,
    ) -> None:  # fmt: skip
        self.replica = replica
        self.wire = Wire()
        self.wire.dead = dead
        if stalled:
            self.wire.stall()
        self.session = Session(replica.service, self.wire, dialect, origin)
        self.task = asyncio.create_task(self.session.run())
        self.cancelled = 0
        self.killed = False
        self.settled = False  # nothing was under way when it was killed
        self.cut = False  # the client reads nothing more of it
        self.ends: list[logging.LogRecord] = []
        self.tracebacks = 0
        self.closed_at: float | None = None
        self.born_at = self.ended_at = asyncio.get_running_loop().time()
        replica.lives.append(self)
        moved = self.session.connection._on_move
        clock = asyncio.get_running_loop().time

        def on_move(before: State, after: State) -> None:
            moved(before, after)
            if after is State.CLOSED:
                self.closed_at = clock()

        self.session.connection._on_move = on_move
        self.task.add_done_callback(lambda _: setattr(self, "ended_at", clock()))

    @property
    def reason(self) -> str | None:
        return getattr(self.ends[0], "reason") if self.ends else None  # noqa: B009

    @property
    def parted(self) -> bool:
        """Whether it is off the roll."""
        return all(session is not self.session for session in self.replica.service.roll)

    @property
    def live(self) -> bool:
        greeted = self.session.connection.state in (State.OPEN, State.DRAINING)
        return greeted and not self.session.stream._ended and not self.task.done()

    def cancel(self) -> None:
        if not self.task.done():
            self.cancelled += 1
            self.task.cancel()

    def check(self, now: float) -> None:
        """What must hold between any two steps."""
        if self.killed:
            return
        assert self.wire.wrongs == []
        assert self.wire.overdue(now) == []
        done, accepted = self.task.done(), self.session.connection.last_state is not State.NEW
        limits = self.replica.service.settings.limits
        ceiling = limits.ceiling_bytes(4096) + self.replica.service.settings.resume.ring_bytes
        assert self.session.buffer_bytes <= ceiling
        if not done:
            assert len(self.ends) == 0 or self.session.hold is not None  # it may still forget
            assert self.closed_at is None or now <= self.closed_at + 1 + EPSILON_S, "a task lingers"
            return
        assert self.task.cancelled() == bool(self.cancelled), (
            f"cancelled {self.cancelled} times, ended as {self.reason}: {self.task}"
        )
        if not self.task.cancelled():
            assert self.task.exception() is None
        assert len(self.ends) == (1 if accepted else 0), "one log line per disconnect"
        if self.reason is not None:
            assert self.ends[0].levelno == DISCONNECTS[self.reason].level
            assert self.tracebacks == (1 if self.reason == "server_error" else 0)


class Referee(logging.Handler):
    """Gives each line of the sessions' log to the life that wrote it."""

    def __init__(self, lives: Callable[[], Iterator[Life]]) -> None:
        super().__init__(logging.DEBUG)
        self._lives = lives
        self.foreign: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        task = asyncio.current_task()
        life = next((life for life in self._lives() if life.task is task), None)
        if record.exc_info and record.exc_info[1] is not None:
            self.foreign += [repr(e) for e in _leaves(record.exc_info[1]) if not _planted(e)]
        if life is None:
            return
        if " ended: " in record.getMessage():
            life.ends.append(record)
        if record.exc_info:
            life.tracebacks += 1


def _planted(error: BaseException) -> bool:
    return isinstance(error, Planted)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@dataclass
class Known:
    """What a v1 client knows of its session."""

    session: str
    token: str
    last_seq: int = 0
    last_control: int = 0
    acked: int = 0
    frames: dict[int, str | None] = field(default_factory=dict)  # how each ended
    twice: list[int] = field(default_factory=list)  # seqs sent again on purpose
    order: list[str] = field(default_factory=list)  # ids of requests as they were sent
    open: dict[str, dict[str, Any]] = field(default_factory=dict)  # without a reply
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)  # never arrived


@dataclass
class Return:
    """A resume under way: what its client may expect of it."""

    trail: list[Life]  # the connection whose session it is, and attempts to have it back since
    must: bool  # nothing is in the way
    must_keep: bool  # nothing is in the way of its settings


class V1Client:
    """A client that keeps the protocol, and notices when the server does not.

    ``deaf`` clients read nothing; what they did not read when the connection is lost is lost.
    """

    def __init__(self, landed: Mapping[bytes, float]) -> None:
        """``landed``: when each result was made, by its picture."""
        self.life: Life | None = None
        self.known: Known | None = None
        self.trail: list[Life] = []  # since and with the newest connection that was welcomed
        self.greeted = False
        self.deaf = False
        self.doubt = False  # the client did something that may cost its session
        self.lied = False  # about its numbers; what was parked is given up for that
        self.trouble_at = -1e9  # when the store was last in trouble
        self.transit_s = 0.0  # how long a session may have been on its way to the store
        self._landed = landed
        self._here = 0
        self.frame_seq = 0
        self.request = 0
        self.returning: Return | None = None
        self._read = 0
        self._owed: tuple[set[str], set[int]] | None = None
        self.resumed = 0

    # -------------------------------------------------------------- what it does

    def connect(self, replica: Replica, *, dead: bool = False, stalled: bool = False) -> None:
        """Open a connection and leave the one before to its fate."""
        self.life = Life(replica, Dialect.V1, dead=dead, stalled=stalled)
        self._here = self.frame_seq  # frames up to this one were sent on other connections
        self._read, self.greeted, self._owed, self.returning = 0, False, None, None

    def hello(self, resume: Mapping[str, Any] | None = None) -> None:
        assert self.life is not None
        message = {"type": "hello", "id": "hello", **({"resume": resume} if resume else {})}
        self.life.wire.come(json.dumps(message))

    def credentials(self, **other: Any) -> dict[str, Any]:
        assert self.known is not None
        return {
            "session": self.known.session,
            "token": self.known.token,
            "last_seq": self.known.last_seq,
            "last_control": self.known.last_control,
            **other,
        }

    def say(self, **message: Any) -> None:
        assert self.life is not None
        self.life.wire.come(json.dumps(message))

    def send_frame(self, ack: int | None = None) -> None:
        assert self.life is not None
        assert self.known is not None
        self.frame_seq += 1
        self.known.frames[self.frame_seq] = None
        ack = self.known.last_seq if ack is None else ack
        if ack <= self.known.last_seq:
            self.known.acked = max(ack, self.known.acked)
        picture = f"{id(self)}:{self.known.session}:{self.frame_seq}".encode().ljust(600, b".")
        self.life.wire.come(encode_frame(Frame(self.frame_seq, ack, 0, picture)))

    def send_frame_again(self) -> None:
        assert self.life is not None
        assert self.known is not None
        self.known.twice.append(self.frame_seq)
        frame = Frame(self.frame_seq, 0, 0, b"again")
        self.life.wire.come(encode_frame(frame))

    def ask(self, **message: Any) -> None:
        assert self.known is not None
        self.request += 1
        self._ask(f"r{self.request}", message)

    def ask_again(self) -> None:
        """Send what the server says it never got."""
        assert self.known is not None
        lost, self.known.lost = self.known.lost, {}
        for name, message in lost.items():
            self._ask(name, message)

    def _ask(self, name: str, message: dict[str, Any]) -> None:
        assert self.known is not None
        self.known.order.append(name)
        self.known.open[name] = message
        self.say(id=name, **message)

    # -------------------------------------------------------------- what it is told

    def read(self, *, quiet: bool) -> None:
        """Take what has come; ``quiet``: nothing more would come without time passing."""
        if self.life is None or self.deaf or self.life.cut:
            return
        sent = self.life.wire.sent
        while self._read < len(sent):
            message = sent[self._read]
            self._read += 1
            if isinstance(message, bytes):
                self._on_result(message)
            else:
                self._on_text(json.loads(message))
        if quiet and self._owed and self.life.live and not self.life.wire.stalled:
            requests, frames = self._owed
            assert self.known is not None
            unanswered = requests & self.known.open.keys()
            assert not unanswered, f"received before the resume, no reply: {unanswered}"
            silent = {seq for seq in frames if self.known.frames[seq] is None}
            assert not silent, f"frames that the server had end in nothing: {silent}"
            self._owed = None

    def _on_text(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "welcome":
            self._on_welcome(message)
            return
        if kind in ("ping", "pong", "bye"):
            assert "control_seq" not in message
            return
        if not self.greeted:
            assert kind == "error"
            assert "control_seq" not in message, "a number before there is a session"
            return
        known = self.known
        assert known is not None
        assert message["control_seq"] == known.last_control + 1, "a gap, a double or a reorder"
        known.last_control += 1
        if "reply_to" in message:
            name = message["reply_to"]
            if name not in ("hello", "early"):  # said out of turn
                assert name in known.open, f"a second reply, or one to nothing: {message}"
                del known.open[name]
        if kind == "dropped":
            for seq in message["frames"]:
                self._end_frame(seq, "dropped")
        if "frame_seq" in message:
            if message["code"] == "BAD_MESSAGE" and message["frame_seq"] in known.twice:
                known.twice.remove(message["frame_seq"])
            else:
                self._end_frame(message["frame_seq"], "error")

    def _on_result(self, message: bytes) -> None:
        assert self.known is not None
        assert self.life is not None
        result = parse_result(message)
        if result.frame_seq <= self._here and not self.life.wire.ever_stalled:
            age_s = self.life.wire.sent_at[self._read - 1] - self._landed[result.payload]
            assert age_s <= 2 + self.transit_s + EPSILON_S, f"replayed after {age_s} s"
        assert result.seq > self.known.last_seq, "a result seq does not grow"
        assert result.seq > self.known.acked, "what was acked is replayed"
        self.known.last_seq = result.seq
        self._end_frame(result.frame_seq, "result")

    def _end_frame(self, seq: int, how: str) -> None:
        assert self.known is not None
        assert self.known.frames.get(seq, "never sent") is None, (
            f"frame {seq} ends as {how} and was {self.known.frames.get(seq, 'never sent')}"
        )
        self.known.frames[seq] = how

    def _on_welcome(self, message: dict[str, Any]) -> None:
        assert not self.greeted, "two welcomes"
        assert self.life is not None
        self.greeted = True
        back, self.returning = self.returning, None
        if back is not None:
            self._reconsider(back)
        if message["resumed"]:
            self._go_on(message, back)
        else:
            if back is not None:
                self._check_loss(message, back)
            self.known = Known(message["session"], message["resume_token"])
        self.doubt = self.lied = False
        self.trail = [self.life]

    def _reconsider(self, back: Return) -> None:
        """What happened between the hello and the welcome."""
        assert self.life is not None
        calm = self.trouble_at < self.life.born_at
        killed = [life for life in back.trail if life.killed]
        back.must = back.must and calm and not killed
        back.must_keep = back.must_keep and calm and all(life.settled for life in killed)

    def _check_loss(self, message: Mapping[str, Any], back: Return) -> None:
        """A session was not resumed: that has to have a reason."""
        why = message.get("why", "")
        assert self.known is not None
        if "were kept" in why:
            self._check_settings(message, back)
            if why.startswith("last_control"):
                rings = [life.session._ring for life in back.trail]
                last = self.known.last_control
                overflow = any(ring.newest - last > len(list(ring)) for ring in rings)
                assert overflow or not back.must, f"{why}; {self._history(back)}"
                return
        else:
            assert not back.must_keep, f"not kept: {why}; {self._history(back)}"
        assert not back.must, f"not resumed: {why}; {self._history(back)}"

    def _go_on(self, message: dict[str, Any], back: Return | None) -> None:
        assert back is not None
        assert self.known is not None
        assert self.life is not None
        self.resumed += 1
        assert message["session"] == self.known.session
        assert message["resume_token"] != self.known.token
        self._check_settings(message, back)
        known, newest = self.known, message.get("last_request")
        known.token = message["resume_token"]
        place = max((i for i, name in enumerate(known.order) if name == newest), default=-1)
        later = [name for name in known.order[place + 1 :] if name in known.open]
        known.lost |= {name: known.open.pop(name) for name in later}
        had = self.life.session._reader.newest_seq
        for seq, end in known.frames.items():
            if seq > had and end is None:
                known.frames[seq] = "lost on the way"
        frames = {seq for seq, end in known.frames.items() if end is None}
        self._owed = (set(known.open), frames)

    def _check_settings(self, message: Mapping[str, Any], back: Return) -> None:
        if not back.must_keep:
            return
        assert self.life is not None
        old, new = back.trail[0].session, self.life.session
        assert message["mode"] == old.stream.mode
        assert View.model_validate(message["viz"]) == old.stream.view
        assert new._commands.stats_every_s == old._commands.stats_every_s

    def _history(self, back: Return) -> str:
        return f"the connections before ended as {[life.reason for life in back.trail]}"


class PlainClient:
    """The original client: frames with timestamps, answered in order, each once."""

    def __init__(self) -> None:
        self.life: Life | None = None
        self._stamp = 0
        self._answered = 0
        self._read = 0

    def connect(self, replica: Replica, *, dead: bool = False, stalled: bool = False) -> None:
        self.life = Life(replica, Dialect.PLAIN, dead=dead, stalled=stalled)
        self._stamp = self._answered = self._read = 0
        self._stamps: set[int] = set()

    def say(self, **message: Any) -> None:
        assert self.life is not None
        self.life.wire.come(json.dumps(message))

    def send_frame(self) -> None:
        self._stamp += 1
        self._stamps.add(self._stamp)
        self.say(type="frame", data="cGljdHVyZQ==", timestamp=self._stamp)

    def read(self, *, quiet: bool) -> None:
        if self.life is None:
            return
        for text in self.life.wire.sent[self._read :]:
            message = json.loads(text)
            if self._read == 0:
                assert message["type"] == "connected"
            self._read += 1
            assert "control_seq" not in message
            if "timestamp" in message:
                assert message["timestamp"] in self._stamps, "answered twice"
                self._stamps.remove(message["timestamp"])
            if message["type"] == "segmentation":
                assert message["timestamp"] > self._answered, "out of order"
                self._answered = message["timestamp"]
