"""The deadlines of a session: the earliest ends it, and life moves it on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.session.watch import Watch
from ingress.settings import IngressSettings
from ingress.wire.words import Dialect
from tests.ingress.fakes import FakeTransport


async def connected(*, greeted: bool = True) -> Connection:
    connection = Connection(
        FakeTransport(),
        send_timeout_s=1,
        close_timeout_s=1,
        on_move=lambda before, after: None,
        on_suppressed=lambda state: None,
    )
    await connection.accept(None)
    if greeted:
        connection.greet()
    return connection


HELLO = {"hello_timeout_s": 5}  # within any of the silences here


class Guard:
    """A watch that runs, and the pings that it asked for."""

    def __init__(
        self, connection: Connection, dialect: Dialect = Dialect.V1, **groups: dict[str, Any]
    ) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self.pinged_after: list[float] = []
        self.t = 0
        self.watch = Watch(IngressSettings.model_validate(groups), dialect)
        self._running = asyncio.create_task(self.watch.run(connection, self._ping))

    def _ping(self, t: int) -> None:
        self.t = t
        self.pinged_after.append(self._elapsed())

    def _elapsed(self) -> float:
        return round(self._clock() - self._began, 3)

    async def end(self) -> tuple[str, float]:
        """The reason that was raised, and after how many seconds."""
        with pytest.raises(Disconnect) as caught:
            await self._running
        return caught.value.reason.name, self._elapsed()


async def test_silence_after_a_heartbeat_is_a_keepalive_timeout() -> None:
    guard = Guard(await connected(), keepalive={"heartbeat_s": 4, "timeout_s": 3}, limits=HELLO)
    assert await guard.end() == ("keepalive_timeout", 7)
    assert guard.pinged_after == [4]


async def test_a_client_that_is_heard_is_pinged_at_every_heartbeat() -> None:
    guard = Guard(await connected(), keepalive={"heartbeat_s": 4, "timeout_s": 3}, limits=HELLO)
    for _ in range(5):
        await asyncio.sleep(4.5)
        guard.watch.heard()
    assert guard.pinged_after == [4, 8, 12, 16, 20]
    assert await guard.end() == ("keepalive_timeout", 22.5 + 7)


async def test_a_plain_client_has_no_application_heartbeat() -> None:
    guard = Guard(await connected(), Dialect.PLAIN, limits={"idle_timeout_s": 50})
    assert await guard.end() == ("idle_timeout", 50)
    assert guard.pinged_after == []


async def test_without_hello_nothing_is_pinged_and_the_hello_is_waited_for() -> None:
    connection = await connected(greeted=False)
    guard = Guard(connection, keepalive={"heartbeat_s": 1, "timeout_s": 100}, limits=HELLO)
    assert await guard.end() == ("hello_timeout", 5)
    assert guard.pinged_after == []


async def test_hello_in_time_lifts_its_deadline() -> None:
    connection = await connected(greeted=False)
    guard = Guard(connection, keepalive={"heartbeat_s": 8, "timeout_s": 8})
    await asyncio.sleep(5)
    connection.greet()
    assert await guard.end() == ("keepalive_timeout", 16)


async def test_signs_of_life_are_not_activity() -> None:
    guard = Guard(await connected(), limits={"idle_timeout_s": 30})
    for _ in range(3):
        await asyncio.sleep(9)
        guard.watch.heard()
    assert await guard.end() == ("idle_timeout", 30)


async def test_activity_moves_the_idle_deadline() -> None:
    guard = Guard(await connected(), Dialect.PLAIN, limits={"idle_timeout_s": 30})
    await asyncio.sleep(20)
    guard.watch.active()
    assert await guard.end() == ("idle_timeout", 50)


async def test_credit_that_stays_exhausted_is_a_slow_consumer() -> None:
    guard = Guard(await connected(), keepalive={"timeout_s": 600}, limits={"credit_timeout_s": 20})
    await asyncio.sleep(3)
    guard.watch.credit(exhausted=True)
    await asyncio.sleep(10)
    guard.watch.credit(exhausted=True)  # no new start
    assert await guard.end() == ("slow_consumer", 23)


async def test_an_acknowledgement_starts_the_credit_deadline_afresh() -> None:
    guard = Guard(await connected(), keepalive={"timeout_s": 600}, limits={"credit_timeout_s": 20})
    guard.watch.credit(exhausted=True)
    await asyncio.sleep(19)
    guard.watch.credit(exhausted=False)
    guard.watch.credit(exhausted=True)
    assert await guard.end() == ("slow_consumer", 39)


async def test_an_end_from_outside_comes_at_once_and_the_first_counts() -> None:
    guard = Guard(await connected())
    await asyncio.sleep(1)
    guard.watch.end(Disconnect("server_shutdown"))
    guard.watch.end(Disconnect("server_error"))
    assert await guard.end() == ("server_shutdown", 1)


async def test_a_pong_is_measured_from_its_ping_once() -> None:
    guard = Guard(await connected(), keepalive={"heartbeat_s": 4, "timeout_s": 3}, limits=HELLO)
    await asyncio.sleep(1)
    assert guard.watch.ponged(0) is None, "it answers no ping"
    await asyncio.sleep(3.25)
    assert guard.watch.ponged(guard.t - 1) is None, "it answers another"
    assert guard.watch.ponged(guard.t) == pytest.approx(0.25)
    assert guard.watch.ponged(guard.t) is None, "it was answered already"
    guard.watch.end(Disconnect("server_shutdown"))
    await guard.end()


@pytest.mark.parametrize("since_s", [0.0, 1.5, 3.9])
async def test_a_credit_deadline_shorter_than_the_heartbeat_is_kept_on_time(since_s: float) -> None:
    keepalive = {"heartbeat_s": 60, "timeout_s": 600}
    guard = Guard(await connected(), keepalive=keepalive, limits={"credit_timeout_s": 2})
    await asyncio.sleep(since_s)
    guard.watch.credit(exhausted=True)
    assert await guard.end() == ("slow_consumer", round(since_s + 2, 3))


async def test_a_hello_that_waits_for_the_store_has_come_in_time() -> None:
    connection = await connected(greeted=False)
    guard = Guard(
        connection,
        keepalive={"heartbeat_s": 8, "timeout_s": 8},
        limits=HELLO,
    )
    await asyncio.sleep(4.9)
    guard.watch.heard()
    assert connection.hello()
    assert (await guard.end())[0] == "keepalive_timeout"
