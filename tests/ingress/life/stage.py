"""The stage that lives are played on: the replicas, their store, the clients, and the clock.

One step is played at a time, for so many turns of the loop as the test likes or until
nothing can run. What must hold at every moment is checked after each turn, what must
hold at rest after each step, and in the end nothing may be left.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from ingress.disconnects import DISCONNECTS
from ingress.settings import Resume
from models.work import FrameFailure, FrameOutcome, FrameRequest
from tests.ingress.fakes import FakeStore, lost, result
from tests.ingress.life.life import Life
from tests.ingress.life.plain_client import PlainClient
from tests.ingress.life.referee import Referee
from tests.ingress.life.replica import Replica
from tests.ingress.life.settings import GROUPS, RENEW_S, TTL_S
from tests.ingress.life.v1_client import Return, V1Client
from tests.ingress.titles import counted
from tests.virtual_time import VirtualTimeLoop

LOGGERS = ("segstream.session", "segstream.roll", "segstream.dispatcher", "segstream.commands")
# What has come to pass on all stages together: whoever plays for long reads it here.
SEEN: Counter[str] = Counter()


class WatchfulLoop(VirtualTimeLoop):
    """Calls ``after_turn`` after each turn, so that "at every moment" can be meant."""

    after_turn: Callable[[], None] = staticmethod(lambda: None)

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        self.after_turn()


class Stage:
    """Two replicas, three v1 clients and a plain one, from ``begin`` to ``end``."""

    def __init__(self) -> None:
        self.loop = WatchfulLoop()
        self.replicas: list[Replica] = []
        self.former: list[Replica] = []
        self.landed: dict[bytes, float] = {}
        self.trouble_at = -1e9  # when the store was last in trouble
        self.quiet = True
        self.referee = Referee(self.lives)
        for name in LOGGERS:
            log = logging.getLogger(name)
            log.addHandler(self.referee)
            log.setLevel(logging.DEBUG)
            log.propagate = False
        self.loop.after_turn = self._balance

    def _balance(self) -> None:
        for replica in self.replicas:
            replica.balance()

    def lives(self) -> Iterator[Life]:
        for replica in (*self.replicas, *self.former):
            yield from replica.lives

    def run(self, work: Coroutine[Any, Any, Any], turns: int | None) -> None:
        """Play one step and ``turns`` turns after it; None: until nothing can run."""

        async def step() -> None:
            await work
            if turns is None:
                await asyncio.sleep(0.001)  # the clock moves only when nothing can run
            for _ in range(turns or 0):
                await asyncio.sleep(0)
            self.quiet = turns is None
            self.read()

        self.loop.run_until_complete(step())
        SEEN["steps"] += 1

    def read(self) -> None:
        """Let the clients take what has come."""
        for client in self.clients:
            client.read(quiet=self.quiet)

    def begin(self) -> None:
        """Every client is there and has a connection."""

        async def make() -> None:
            self.store = FakeStore(Resume.model_validate(GROUPS["resume"]))
            self.replicas = [self.new_replica(), self.new_replica()]
            self.v1 = [V1Client(self.landed) for _ in range(3)]
            self.plain = PlainClient()
            self.clients: list[V1Client | PlainClient] = [*self.v1, self.plain]
            for who in range(4):
                await self.connect(who, who % 2)
            await asyncio.sleep(0.001)
            self.read()

        self.loop.run_until_complete(make())

    def new_replica(self) -> Replica:
        replica = Replica(self.store)

        async def answer(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
            now = self.loop.time()
            self.landed.update((frame.image, now) for frame in frames)
            return [
                FrameFailure("FRAME_REJECTED", "no picture")
                if frame.image.rstrip(b".").endswith(b"7")
                else result(frame)
                for frame in frames
            ]

        replica.world.analyzer.answer = answer
        replica.world.analyzer.delay_s = 0.1
        replica.world.analyzer.prepare_s.update(parts=0.5, salient=5)
        return replica

    @property
    def now(self) -> float:
        return self.loop.time()

    @property
    def troubled(self) -> bool:
        return self.store.lost or self.store.delay_s > 0

    async def connect(self, who: int, where: int, how: str = "") -> None:
        """A client comes afresh, and knows nothing of a session before."""
        client = self.clients[who]
        client.connect(self.replicas[where], dead=how == "dead", stalled=how == "stalled")
        if isinstance(client, V1Client):
            client.known, client.trail = None, []
            if how == "":
                client.hello()

    async def resume(
        self, client: V1Client, where: int, numbers: str = "", early: bool = False,
        late: bool = False, cut: int | None = None,
    ) -> None:  # fmt: skip
        """A client comes back for its session; after ``cut`` turns it is lost again."""
        back = self._expected(client, where)
        client.connect(self.replicas[where])
        if early:
            client.say(type="get_stats", id="early")
        wrong: dict[str, Any] = {}
        if numbers:
            assert client.known is not None
            client.lied = True
            back.must = False
            wrong = {"last_seq" if numbers == "ahead" else "last_control": 10_000}
        client.hello(client.credentials(**wrong))
        if late:
            client.hello()
            client.say(type="get_stats", id="early")
        client.returning = back
        assert client.life is not None
        client.trail.append(client.life)
        if cut is None:
            return
        for _ in range(cut):
            await asyncio.sleep(0)
        if self.troubled:
            await asyncio.sleep(self.store.delay_s)
        client.life.cut = True
        client.life.wire.come(lost())

    def _expected(self, client: V1Client, where: int) -> Return:
        """What a client that comes back now may expect."""
        trail = list(client.trail)
        assert client.known is not None
        name = client.known.session
        holds = [life for life in trail if life.session.hold and life.session.id == name]
        calm = not client.doubt and not self.troubled and bool(holds)
        calm = calm and self.replicas[where].draining is None
        ended = [life.ended_at for life in holds if not life.live]
        live = any(life.live for life in holds)
        calm = calm and (live or max(ended, default=0) > self.now - TTL_S + 3)
        calm = calm and all(self._left_well(life) for life in trail)
        client.transit_s = 0.0 if self.trouble_at < 0 else 0.6
        return Return(
            trail,
            must=calm and not client.lied and not any(life.killed for life in trail),
            must_keep=calm,
        )

    def _left_well(self, life: Life) -> bool:
        """Whether nothing was in the way of the session of ``life`` getting to the store."""
        before_s = RENEW_S + 1
        end = life.ended_at if life.task.done() else self.now
        well = self.trouble_at < life.born_at or end - self.trouble_at > before_s
        if life.killed:
            return well and life.settled
        if not life.task.done():
            return well and life.live
        if life.session.hold is None:
            return well
        kept = life.reason is not None and DISCONNECTS[life.reason].kept
        return well and kept and life.cancelled <= 1

    def one_connection_each(self) -> None:
        """What must hold once every replica has renewed its titles without trouble."""
        sessions = Counter(life.session.id for r in self.replicas for life in r.lives if life.live)
        assert max(sessions.values(), default=0) <= 1, "two connections of one session"

    def check(self) -> None:
        """What must hold between any two steps."""
        if self.troubled:
            self.trouble_at = self.now
        for client in self.v1:
            client.trouble_at = self.trouble_at
        assert self.referee.foreign == [], "a bug that nobody planted"
        for replica in self.replicas:
            for life in replica.lives:
                life.check(self.now)
                if self.quiet and life.live and not life.session._watch._ending.done():
                    assert life.wire.unread == 0, "the reader has stopped"
            if replica.draining and replica.draining.done():
                left = [life.reason for life in replica.lives[: replica.drained] if not life.parted]
                assert left == [], "drained and not empty"
        memory = self.store.memory
        assert memory.kept_bytes == counted(memory)

    def end(self) -> None:
        """Play on until nothing is left, and clear the stage, whatever has happened."""
        try:
            if self.replicas:
                self.loop.run_until_complete(self._settle())
        finally:
            for name in LOGGERS:
                log = logging.getLogger(name)
                log.removeHandler(self.referee)
                log.propagate = True
            self.loop.after_turn = lambda: None
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(1))
            self.loop.close()

    async def _settle(self) -> None:
        """In the end nothing is left: no connection, no session, no task, no byte."""
        self.store.lost, self.store.delay_s = False, 0.0
        await asyncio.sleep(RENEW_S + 1)
        self.check()
        self.one_connection_each()
        for life in self.lives():
            life.wire.come(lost())
        await asyncio.sleep(10)
        self.check()
        for replica in self.replicas:
            metrics, world = replica.service.metrics, replica.world
            assert len(replica.service.roll) == 0
            assert metrics.open_connections.collect()
            assert sum(replica._now_values()) == 0
            assert replica.service.roll.buffer_bytes == 0
            frames_in = sum(life.session._account.figures.frames_in for life in replica.lives)
            assert world.total("frames_total") == frames_in, "each frame ends once"
            reasons = Counter(life.reason for life in replica.lives if life.reason)
            counted = {
                name: world.count(
                    "ws_disconnects_total", reason=name, initiator=DISCONNECTS[name].initiator
                )
                for name in reasons
            }
            assert reasons == counted
            assert replica.bugs == reasons.get("server_error", 0)
            SEEN.update(reasons)
        SEEN["resumed"] += sum(client.resumed for client in self.v1)
        await asyncio.sleep(TTL_S)
        for replica in (*self.replicas, *self.former):
            await replica.close()
        self.store.memory.expire(self.now)
        memory = self.store.memory
        assert (memory.held, memory.parked, memory.kept_bytes) == (0, 0, 0)
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlives its session"
