"""The ten invariants of a connection's life, attacked in any order of events.

Two replicas, one store, some clients, and everything that can go wrong, on virtual
time. ``pytest --hypothesis-profile=soak --timeout=0 tests/ingress/test_life.py`` plays on for long.
The moves are here; what they move, and what must hold of it, is in ``life``.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingress.disconnects import disconnect_seen
from ingress.resume.parked import new_token
from ingress.wire.words import Dialect
from tests.ingress.fakes import lost
from tests.ingress.life.life import Life
from tests.ingress.life.referee import Planted
from tests.ingress.life.settings import ORIGIN, RENEW_S
from tests.ingress.life.stage import Stage
from tests.ingress.life.v1_client import V1Client

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


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()

    @initialize()
    def begin(self) -> None:
        self.stage.begin()

    @invariant()
    def holds(self) -> None:
        self.stage.check()

    def teardown(self) -> None:
        self.stage.end()

    # ------------------------------------------------------------------ coming

    @rule(who=ANY, where=WHERE, how=st.sampled_from(["", "", "mute", "dead", "stalled"]),
          turns=TURNS)  # fmt: skip
    def connect(self, who: int, where: int, how: str, turns: int | None) -> None:
        """Afresh; the connection before goes on without its client."""
        self.stage.run(self.stage.connect(who, where, how), turns)

    @rule(who=V1, twice=st.booleans(), early=st.booleans(), turns=TURNS)
    def hello(self, who: int, twice: bool, early: bool, turns: int | None) -> None:
        client = self.stage.v1[who]
        if client.life is None or client.greeted or client.returning:
            return
        if early:
            client.say(type="get_stats", id="early")
        client.hello()
        if twice:
            client.hello()
        self.stage.run(asyncio.sleep(0), turns)

    @rule(who=V1, where=WHERE, early=st.booleans(), late=st.booleans(),
          numbers=st.sampled_from(["", "", "", "", "ahead", "far ahead"]), cut=CUT,
          turns=TURNS)  # fmt: skip
    def resume(
        self, who: int, where: int, early: bool, late: bool, numbers: str, cut: int | None,
        turns: int | None,
    ) -> None:  # fmt: skip
        if numbers and self.stage.troubled:
            numbers = ""
        if numbers:
            turns = None  # the lie is to be over when the client comes again
        client = self.stage.v1[who]
        if client.known is not None:
            self.stage.run(self.stage.resume(client, where, numbers, early, late, cut), turns)

    @rule(wheres=st.tuples(WHERE, WHERE, WHERE), cut=CUT, turns=TURNS)
    def all_come_back(
        self, wheres: tuple[int, int, int], cut: int | None, turns: int | None
    ) -> None:
        """Whoever has lost its connection, or should know so, is there again."""

        async def come() -> None:
            for who, where in enumerate(wheres):
                client = self.stage.v1[who]
                if client.life is None or client.life.live:
                    continue
                if client.known is None:
                    await self.stage.connect(who, where)
                else:
                    await self.stage.resume(client, where, cut=cut)

        self.stage.run(come(), turns)

    @rule(who=V1, where=WHERE, wrong=st.sampled_from(["token", "session", "origin"]), turns=TURNS)
    def stranger(self, who: int, where: int, wrong: str, turns: int | None) -> None:
        """Somebody without the token; the answer tells nothing and changes nothing."""
        client = self.stage.v1[who]
        if client.known is None or self.stage.replicas[where].draining:
            return
        resume = client.credentials()
        if wrong != "origin":
            resume[wrong] = new_token()
        origin = "https://evil.example" if wrong == "origin" else ORIGIN

        async def come() -> Life:
            life = Life(self.stage.replicas[where], Dialect.V1, origin)
            life.wire.come(json.dumps({"type": "hello", "resume": resume}))
            await asyncio.sleep(5 if self.stage.troubled else 0.001)
            life.wire.come(lost())
            return life

        work = self.stage.loop.create_task(come())
        self.stage.run(_done(work), turns)
        welcomes = [m for m in map(json.loads, work.result().wire.sent) if m["type"] == "welcome"]
        for welcome in welcomes:
            assert (welcome["resumed"], welcome["mode"]) == (False, "person")
            known = "the session is not there any more; a new one was started"
            assert welcome["why"] == known or self.stage.troubled

    @precondition(lambda self: not self.stage.troubled)
    @rule(who=V1, first=WHERE, second=WHERE, gap=st.integers(0, 12))
    def race(self, who: int, first: int, second: int, gap: int) -> None:
        """Two connections want the same session back at once."""
        client, replicas = self.stage.v1[who], self.stage.replicas
        if client.known is None or replicas[first].draining or replicas[second].draining:
            return

        async def both() -> None:
            await self.stage.resume(client, first)
            one, back = client.life, client.returning
            for _ in range(gap):
                await asyncio.sleep(0)
            await self.stage.resume(client, second)
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

        self.stage.run(both(), None)

    # ------------------------------------------------------------------ talking

    def _talkers(self, who: int) -> V1Client | None:
        client = self.stage.v1[who]
        return client if client.life and client.greeted and not client.life.cut else None

    @rule(who=V1, count=st.integers(1, 6), ack=st.sampled_from([None, None, 0, 10_000]),
          turns=TURNS)  # fmt: skip
    def frames(self, who: int, count: int, ack: int | None, turns: int | None) -> None:
        if client := self._talkers(who):
            for _ in range(count):
                client.send_frame(ack)
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=V1, turns=TURNS)
    def frame_again(self, who: int, turns: int | None) -> None:
        client = self._talkers(who)
        if client is None:
            return
        assert client.known is not None
        if client.known.frames.get(client.frame_seq, "lost on the way") != "lost on the way":
            client.send_frame_again()
        self.stage.run(asyncio.sleep(0), turns)

    @rule(who=V1, how=st.sampled_from(["right", "right", "old", "ahead"]), turns=TURNS)
    def ack(self, who: int, how: str, turns: int | None) -> None:
        if client := self._talkers(who):
            assert client.known is not None
            seq = {"right": client.known.last_seq, "old": 0, "ahead": 10_000}[how]
            if how == "right":
                client.known.acked = seq
            client.say(type="ack", seq=seq)
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=V1, messages=st.lists(REQUESTS, min_size=1, max_size=4), turns=TURNS)
    def request(self, who: int, messages: list[dict[str, Any]], turns: int | None) -> None:
        if client := self._talkers(who):
            for message in messages:
                client.ask(**message)
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=V1, turns=TURNS)
    def request_again(self, who: int, turns: int | None) -> None:
        if client := self._talkers(who):
            client.ask_again()
            self.stage.run(asyncio.sleep(0), turns)

    @rule(turns=TURNS)
    def plain_frame(self, turns: int | None) -> None:
        if self.stage.plain.life is not None:
            self.stage.plain.send_frame()
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=ANY, what=st.sampled_from(["nonsense", '{"type":"ping","t":3}', b"short",
          "x" * 1100, '{"type":"pong","t":1}', '{"type":"get_stats"}']), turns=TURNS)  # fmt: skip
    def anything(self, who: int, what: str | bytes, turns: int | None) -> None:
        life = self.stage.clients[who].life
        if life is not None:
            life.wire.come(what)
            self.stage.run(asyncio.sleep(0), turns)

    # ------------------------------------------------------------------ going

    @rule(who=V1)
    def deaf(self, who: int) -> None:
        self.stage.v1[who].deaf = not self.stage.v1[who].deaf

    @rule(who=ANY, turns=TURNS)
    def stall(self, who: int, turns: int | None) -> None:
        if life := self.stage.clients[who].life:
            life.wire.stall()
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=ANY, turns=TURNS)
    def flow(self, who: int, turns: int | None) -> None:
        if life := self.stage.clients[who].life:
            life.wire.flow()
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=ANY, how=st.sampled_from(["receive", "receive", "sends first", "both"]), turns=TURNS)
    def lose(self, who: int, how: str, turns: int | None) -> None:
        life = self.stage.clients[who].life
        if life is not None:
            life.wire.dead |= how != "receive"
            life.cut = True
            if how != "sends first":
                life.wire.come(lost())
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=ANY, code=st.sampled_from([1000, 1001, 1002, 1006, 1009, 1012, 3000, 4002, 4999]),
          turns=TURNS)  # fmt: skip
    def close(self, who: int, code: int, turns: int | None) -> None:
        client = self.stage.clients[who]
        if client.life is not None:
            if isinstance(client, V1Client):
                client.doubt = True
            client.life.cut = True
            client.life.wire.come(disconnect_seen(code, close_frame=True))
            self.stage.run(asyncio.sleep(0), turns)

    @rule(who=ANY, again=st.sampled_from([None, None, 0, 1, 2, 3, 5]), turns=TURNS)
    def cancel(self, who: int, again: int | None, turns: int | None) -> None:
        life = self.stage.clients[who].life
        if life is None:
            return

        async def cancel(life: Life) -> None:
            life.cancel()
            for _ in range(again or 0):
                await asyncio.sleep(0)
            if again is not None:
                life.cancel()

        life.cut = True
        self.stage.run(cancel(life), turns)

    # ------------------------------------------------------------------ breaking

    @rule(how=st.sampled_from(["lost", "slow", "too slow", "well", "well", "well"]), turns=TURNS)
    def store_is(self, how: str, turns: int | None) -> None:
        if self.stage.troubled or how != "well":
            self.stage.trouble_at = self.stage.now
        for client in self.stage.v1:
            client.trouble_at = self.stage.trouble_at
        self.stage.store.lost = how == "lost"
        self.stage.store.delay_s = {"slow": 0.2, "too slow": 1.2}.get(how, 0.0)
        self.stage.run(asyncio.sleep(0), turns)

    @rule(where=WHERE, turns=TURNS)
    def die(self, where: int, turns: int | None) -> None:
        async def kill() -> None:
            for life in self.stage.replicas[where].lives:
                life.settled = self.stage.quiet
                life.cut = True
            self.stage.replicas[where].kill()
            self.stage.former.append(self.stage.replicas[where])
            self.stage.replicas[where] = self.stage.new_replica()

        self.stage.run(kill(), turns)

    @rule(where=WHERE, turns=TURNS)
    def drain(self, where: int, turns: int | None) -> None:
        async def begin() -> None:
            self.stage.replicas[where].drain()

        self.stage.run(begin(), turns)

    @rule(who=V1, turns=TURNS)
    def bug_in_the_reader(self, who: int, turns: int | None) -> None:
        life = self.stage.v1[who].life
        if life is not None:
            life.wire.come(Planted("secret"))
            self.stage.run(asyncio.sleep(0), turns)

    @rule(where=WHERE, broken=st.booleans())
    def bug_in_the_statistics(self, where: int, broken: bool) -> None:
        self.stage.replicas[where].world.analyst.failure = Planted("secret") if broken else None

    @rule(where=WHERE, how=st.sampled_from(["quick", "slow", "hangs"]), stats=st.booleans())
    def model(self, where: int, how: str, stats: bool) -> None:
        seconds = {"quick": 0.1, "slow": 1.5, "hangs": 100.0}[how]
        world = self.stage.replicas[where].world
        if stats:
            world.analyst.delay_s = min(seconds, 3.0)
        else:
            world.analyzer.delay_s = seconds

    @rule(seconds=st.sampled_from([0.01, 0.15, 0.5, 1.0, 2.5, 4.0, 9.0, 20.0, 30.0]),
          chatty=st.sets(ANY))  # fmt: skip
    def wait(self, seconds: float, chatty: set[int]) -> None:
        """Time passes; the chatty clients show life."""

        async def pass_time() -> None:
            until = self.stage.now + seconds
            while self.stage.now < until:
                for who in chatty:
                    client = self.stage.clients[who]
                    if client.life and not client.life.cut:
                        client.life.wire.come('{"type":"pong","t":0}')
                await asyncio.sleep(min(2.0, until - self.stage.now))
                self.stage.read()
                self.stage.check()

        self.stage.run(pass_time(), None)
        if self.stage.troubled:
            self.stage.trouble_at = self.stage.now
        elif seconds > RENEW_S + 1 and self.stage.now - self.stage.trouble_at > RENEW_S + 1:
            self.stage.one_connection_each()


async def _done(work: asyncio.Task[Any]) -> None:
    await work


TestLives = Lives.TestCase
TestLives.settings = settings(stateful_step_count=50, suppress_health_check=list(HealthCheck))
