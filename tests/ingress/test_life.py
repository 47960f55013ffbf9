"""The ten invariants of a connection's life, attacked in any order of events.

Two replicas, one store, some clients, and everything that can go wrong, on virtual
time. ``pytest --hypothesis-profile=soak --timeout=0 tests/ingress/test_life.py`` plays on for long.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingress.disconnects import DISCONNECTS, disconnect_seen
from ingress.resume.parked import new_token
from ingress.settings import Resume
from ingress.wire.words import Dialect
from models.work import FrameFailure, FrameOutcome, FrameRequest
from tests.ingress.conftest import FakeStore, lost, result
from tests.ingress.life import (
    GROUPS,
    ORIGIN,
    RENEW_S,
    TTL_S,
    Life,
    PlainClient,
    Planted,
    Referee,
    Replica,
    Return,
    V1Client,
    WatchfulLoop,
)  # fmt: skip

V1 = st.integers(0, 2)
ANY = st.integers(0, 3)
WHERE = st.integers(0, 1)
# How many turns the loop has before the next step; None: until nothing can run.
TURNS = st.sampled_from([None, None, None, 0, 1, 2, 3, 5, 8])
# After so many turns a connection that wants its session back is lost again.
CUT = st.sampled_from([None, None, None, None, 0, 1, 2, 3, 4, 5, 6])
REQUESTS = st.sampled_from(
    [
        {"type": "get_stats"},
        {"type": "get_stats"},
        {"type": "change_mode", "model_mode": "parts"},
        {"type": "change_mode", "model_mode": "person"},
        {"type": "change_mode", "model_mode": "salient"},
        {"type": "change_mode", "model_mode": "nonsense"},
        {"type": "change_mode", "model_mode": 7},
        {"type": "update_viz", "settings": {"quality": 50}},
        {"type": "update_viz", "settings": {"output": "mask", "quality": 70}},
        {"type": "update_viz", "settings": {"class_filter": [1]}},
        {"type": "update_viz", "settings": {"quality": 5000}},
        {"type": "subscribe_stats", "interval_s": 2},
        {"type": "subscribe_stats", "interval_s": 0},
        {"type": "subscribe_stats", "interval_s": -1},
        {"type": "no_such_request"},
    ]
)
LOGGERS = ("segstream.session", "segstream.roll", "segstream.dispatcher", "segstream.commands")
SEEN: Counter[str] = Counter()


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
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
        async def step() -> None:
            await work
            if turns is None:
                await asyncio.sleep(0.001)  # the clock moves only when nothing can run
            for _ in range(turns or 0):
                await asyncio.sleep(0)
            self.quiet = turns is None
            self._read()

        self.loop.run_until_complete(step())
        SEEN["steps"] += 1

    def _read(self) -> None:
        for client in self.clients:
            client.read(quiet=self.quiet)

    @initialize()
    def begin(self) -> None:
        async def make() -> None:
            self.store = FakeStore(Resume.model_validate(GROUPS["resume"]))
            self.replicas = [self._replica(), self._replica()]
            self.v1 = [V1Client(self.landed) for _ in range(3)]
            self.plain = PlainClient()
            self.clients: list[V1Client | PlainClient] = [*self.v1, self.plain]
            for who in range(4):
                await self._connect(who, who % 2)
            await asyncio.sleep(0.001)
            self._read()

        self.loop.run_until_complete(make())

    def _replica(self) -> Replica:
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

    # ------------------------------------------------------------------ coming

    @rule(who=ANY, where=WHERE, how=st.sampled_from(["", "", "mute", "dead", "stalled"]),
          turns=TURNS)  # fmt: skip
    def connect(self, who: int, where: int, how: str, turns: int | None) -> None:
        """Afresh; the connection before goes on without its client."""
        self.run(self._connect(who, where, how), turns)

    async def _connect(self, who: int, where: int, how: str = "") -> None:
        client = self.clients[who]
        client.connect(self.replicas[where], dead=how == "dead", stalled=how == "stalled")
        if isinstance(client, V1Client):
            client.known, client.trail = None, []
            if how == "":
                client.hello()

    @rule(who=V1, twice=st.booleans(), early=st.booleans(), turns=TURNS)
    def hello(self, who: int, twice: bool, early: bool, turns: int | None) -> None:
        client = self.v1[who]
        if client.life is None or client.greeted or client.returning:
            return
        if early:
            client.say(type="get_stats", id="early")
        client.hello()
        if twice:
            client.hello()
        self.run(asyncio.sleep(0), turns)

    @rule(who=V1, where=WHERE, early=st.booleans(), late=st.booleans(),
          numbers=st.sampled_from(["", "", "", "", "ahead", "far ahead"]), cut=CUT,
          turns=TURNS)  # fmt: skip
    def resume(
        self, who: int, where: int, early: bool, late: bool, numbers: str, cut: int | None,
        turns: int | None,
    ) -> None:  # fmt: skip
        if numbers and self.troubled:
            numbers = ""
        if numbers:
            turns = None  # the lie is to be over when the client comes again
        if self.v1[who].known is not None:
            self.run(self._resume(self.v1[who], where, numbers, early, late, cut), turns)

    @rule(wheres=st.tuples(WHERE, WHERE, WHERE), cut=CUT, turns=TURNS)
    def all_come_back(
        self, wheres: tuple[int, int, int], cut: int | None, turns: int | None
    ) -> None:
        """Whoever has lost its connection, or should know so, is there again."""

        async def come() -> None:
            for who, where in enumerate(wheres):
                client = self.v1[who]
                if client.life is None or client.life.live:
                    continue
                if client.known is None:
                    await self._connect(who, where)
                else:
                    await self._resume(client, where, cut=cut)

        self.run(come(), turns)

    async def _resume(
        self, client: V1Client, where: int, numbers: str = "", early: bool = False,
        late: bool = False, cut: int | None = None,
    ) -> None:  # fmt: skip
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

    @rule(who=V1, where=WHERE, wrong=st.sampled_from(["token", "session", "origin"]), turns=TURNS)
    def stranger(self, who: int, where: int, wrong: str, turns: int | None) -> None:
        """Somebody without the token; the answer tells nothing and changes nothing."""
        client = self.v1[who]
        if client.known is None or self.replicas[where].draining:
            return
        resume = client.credentials()
        if wrong != "origin":
            resume[wrong] = new_token()
        origin = "https://evil.example" if wrong == "origin" else ORIGIN

        async def come() -> Life:
            life = Life(self.replicas[where], Dialect.V1, origin)
            life.wire.come(json.dumps({"type": "hello", "resume": resume}))
            await asyncio.sleep(5 if self.troubled else 0.001)
            life.wire.come(lost())
            return life

        work = self.loop.create_task(come())
        self.run(_done(work), turns)
        welcomes = [m for m in map(json.loads, work.result().wire.sent) if m["type"] == "welcome"]
        for welcome in welcomes:
            assert (welcome["resumed"], welcome["mode"]) == (False, "person")
            known = "the session is not there any more; a new one was started"
            assert welcome["why"] == known or self.troubled

    @precondition(lambda self: not self.troubled)
    @rule(who=V1, first=WHERE, second=WHERE, gap=st.integers(0, 12))
    def race(self, who: int, first: int, second: int, gap: int) -> None:
        """Two connections want the same session back at once."""
        client = self.v1[who]
        if client.known is None or self.replicas[first].draining or self.replicas[second].draining:
            return

        async def both() -> None:
            await self._resume(client, first)
            one, back = client.life, client.returning
            for _ in range(gap):
                await asyncio.sleep(0)
            await self._resume(client, second)
            two = client.life
            assert one is not None
            assert two is not None
            for _ in range(round(RENEW_S) + 3):
                await asyncio.sleep(1)
                for life in (one, two):
                    life.wire.come('{"type":"pong","t":0}')
            live = [life for life in (one, two) if life.live]
            assert len({life.session.id for life in live}) == len(live), "two of one session"
            assert back is not None
            assert live or not back.must, "neither has it"
            client.life, client.returning = (live or [two])[0], back

        self.run(both(), None)

    # ------------------------------------------------------------------ talking

    def _talkers(self, who: int) -> V1Client | None:
        client = self.v1[who]
        return client if client.life and client.greeted and not client.life.cut else None

    @rule(who=V1, count=st.integers(1, 6), ack=st.sampled_from([None, None, 0, 10_000]),
          turns=TURNS)  # fmt: skip
    def frames(self, who: int, count: int, ack: int | None, turns: int | None) -> None:
        if client := self._talkers(who):
            for _ in range(count):
                client.send_frame(ack)
            self.run(asyncio.sleep(0), turns)

    @rule(who=V1, turns=TURNS)
    def frame_again(self, who: int, turns: int | None) -> None:
        client = self._talkers(who)
        if client is None:
            return
        assert client.known is not None
        if client.known.frames.get(client.frame_seq, "lost on the way") != "lost on the way":
            client.send_frame_again()
        self.run(asyncio.sleep(0), turns)

    @rule(who=V1, how=st.sampled_from(["right", "right", "old", "ahead"]), turns=TURNS)
    def ack(self, who: int, how: str, turns: int | None) -> None:
        if client := self._talkers(who):
            assert client.known is not None
            seq = {"right": client.known.last_seq, "old": 0, "ahead": 10_000}[how]
            if how == "right":
                client.known.acked = seq
            client.say(type="ack", seq=seq)
            self.run(asyncio.sleep(0), turns)

    @rule(who=V1, messages=st.lists(REQUESTS, min_size=1, max_size=4), turns=TURNS)
    def request(self, who: int, messages: list[dict[str, Any]], turns: int | None) -> None:
        if client := self._talkers(who):
            for message in messages:
                client.ask(**message)
            self.run(asyncio.sleep(0), turns)

    @rule(who=V1, turns=TURNS)
    def request_again(self, who: int, turns: int | None) -> None:
        if client := self._talkers(who):
            client.ask_again()
            self.run(asyncio.sleep(0), turns)

    @rule(turns=TURNS)
    def plain_frame(self, turns: int | None) -> None:
        if self.plain.life is not None:
            self.plain.send_frame()
            self.run(asyncio.sleep(0), turns)

    @rule(who=ANY, what=st.sampled_from(["nonsense", '{"type":"ping","t":3}', b"short",
          "x" * 1100, '{"type":"pong","t":1}', '{"type":"get_stats"}']), turns=TURNS)  # fmt: skip
    def anything(self, who: int, what: str | bytes, turns: int | None) -> None:
        life = self.clients[who].life
        if life is not None:
            life.wire.come(what)
            self.run(asyncio.sleep(0), turns)

    # ------------------------------------------------------------------ going

    @rule(who=V1)
    def deaf(self, who: int) -> None:
        self.v1[who].deaf = not self.v1[who].deaf

    @rule(who=ANY, turns=TURNS)
    def stall(self, who: int, turns: int | None) -> None:
        if life := self.clients[who].life:
            life.wire.stall()
            self.run(asyncio.sleep(0), turns)

    @rule(who=ANY, turns=TURNS)
    def flow(self, who: int, turns: int | None) -> None:
        if life := self.clients[who].life:
            life.wire.flow()
            self.run(asyncio.sleep(0), turns)

    @rule(who=ANY, how=st.sampled_from(["receive", "receive", "sends first", "both"]), turns=TURNS)
    def lose(self, who: int, how: str, turns: int | None) -> None:
        life = self.clients[who].life
        if life is not None:
            life.wire.dead |= how != "receive"
            life.cut = True
            if how != "sends first":
                life.wire.come(lost())
            self.run(asyncio.sleep(0), turns)

    @rule(who=ANY, code=st.sampled_from([1000, 1001, 1002, 1006, 1009, 1012, 3000, 4002, 4999]),
          turns=TURNS)  # fmt: skip
    def close(self, who: int, code: int, turns: int | None) -> None:
        client = self.clients[who]
        if client.life is not None:
            if isinstance(client, V1Client):
                client.doubt = True
            client.life.cut = True
            client.life.wire.come(disconnect_seen(code, close_frame=True))
            self.run(asyncio.sleep(0), turns)

    @rule(who=ANY, again=st.sampled_from([None, None, 0, 1, 2, 3, 5]), turns=TURNS)
    def cancel(self, who: int, again: int | None, turns: int | None) -> None:
        life = self.clients[who].life
        if life is None:
            return

        async def cancel(life: Life) -> None:
            life.cancel()
            for _ in range(again or 0):
                await asyncio.sleep(0)
            if again is not None:
                life.cancel()

        life.cut = True
        self.run(cancel(life), turns)

    # ------------------------------------------------------------------ breaking

    @rule(how=st.sampled_from(["lost", "slow", "too slow", "well", "well", "well"]), turns=TURNS)
    def store_is(self, how: str, turns: int | None) -> None:
        if self.troubled or how != "well":
            self.trouble_at = self.now
        for client in self.v1:
            client.trouble_at = self.trouble_at
        self.store.lost = how == "lost"
        self.store.delay_s = {"slow": 0.2, "too slow": 1.2}.get(how, 0.0)
        self.run(asyncio.sleep(0), turns)

    @rule(where=WHERE, turns=TURNS)
    def die(self, where: int, turns: int | None) -> None:
        async def kill() -> None:
            for life in self.replicas[where].lives:
                life.settled = self.quiet
                life.cut = True
            self.replicas[where].kill()
            self.former.append(self.replicas[where])
            self.replicas[where] = self._replica()

        self.run(kill(), turns)

    @rule(where=WHERE, turns=TURNS)
    def drain(self, where: int, turns: int | None) -> None:
        async def begin() -> None:
            self.replicas[where].drain()

        self.run(begin(), turns)

    @rule(who=V1, turns=TURNS)
    def bug_in_the_reader(self, who: int, turns: int | None) -> None:
        life = self.v1[who].life
        if life is not None:
            life.wire.come(Planted("secret"))
            self.run(asyncio.sleep(0), turns)

    @rule(where=WHERE, broken=st.booleans())
    def bug_in_the_statistics(self, where: int, broken: bool) -> None:
        self.replicas[where].world.analyst.failure = Planted("secret") if broken else None

    @rule(where=WHERE, how=st.sampled_from(["quick", "slow", "hangs"]), stats=st.booleans())
    def model(self, where: int, how: str, stats: bool) -> None:
        seconds = {"quick": 0.1, "slow": 1.5, "hangs": 100.0}[how]
        world = self.replicas[where].world
        if stats:
            world.analyst.delay_s = min(seconds, 3.0)
        else:
            world.analyzer.delay_s = seconds

    @rule(seconds=st.sampled_from([0.01, 0.15, 0.5, 1.0, 2.5, 4.0, 9.0, 20.0, 30.0]),
          chatty=st.sets(ANY))  # fmt: skip
    def wait(self, seconds: float, chatty: set[int]) -> None:
        """Time passes; the chatty clients show life."""

        async def pass_time() -> None:
            until = self.now + seconds
            while self.now < until:
                for who in chatty:
                    client = self.clients[who]
                    if client.life and not client.life.cut:
                        client.life.wire.come('{"type":"pong","t":0}')
                await asyncio.sleep(min(2.0, until - self.now))
                self._read()
                self._check()

        self.run(pass_time(), None)
        if self.troubled:
            self.trouble_at = self.now
        elif seconds > RENEW_S + 1 and self.now - self.trouble_at > RENEW_S + 1:
            self._one_connection_each()

    def _one_connection_each(self) -> None:
        sessions = Counter(life.session.id for r in self.replicas for life in r.lives if life.live)
        assert max(sessions.values(), default=0) <= 1, "two connections of one session"

    # ------------------------------------------------------------------ the referee

    @invariant()
    def holds(self) -> None:
        self._check()

    def _check(self) -> None:
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
        records = [*memory._held.values(), *memory._parked.values()]
        assert memory.parked_bytes == sum(r.parked.size_bytes for r in records if r.parked)

    def teardown(self) -> None:
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
        self._check()
        self._one_connection_each()
        for life in self.lives():
            life.wire.come(lost())
        await asyncio.sleep(10)
        self._check()
        for replica in self.replicas:
            metrics, world = replica.service.metrics, replica.world
            assert len(replica.service.roll) == 0
            assert metrics.open_connections.collect()
            assert sum(replica._now_values()) == 0
            assert replica.service.roll.buffer_bytes == 0
            frames_in = sum(life.session.figures.frames_in for life in replica.lives)
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
        assert (memory.held, memory.parked, memory.parked_bytes) == (0, 0, 0)
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlives its session"


async def _done(work: asyncio.Task[Any]) -> None:
    await work


TestLives = Lives.TestCase
TestLives.settings = settings(stateful_step_count=50, suppress_health_check=list(HealthCheck))
