"""The gate: nothing passes after the end, and no wait is without a deadline."""

from __future__ import annotations

import asyncio

import pytest

from ingress.disconnects import Disconnect
from ingress.door.connection import Connection
from ingress.lifecycle import State
from tests.ingress.fakes import FakeTransport, lost


class Moves:
    """What a connection told of itself."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.suppressed: list[State] = []

    def moved(self, _: State, after: State) -> None:
        self.states.append(after)


@pytest.fixture
def moves() -> Moves:
    return Moves()


@pytest.fixture
def connection(peer: FakeTransport, moves: Moves) -> Connection:
    return Connection(
        peer,
        send_timeout_s=10,
        close_timeout_s=2,
        on_move=moves.moved,
        on_suppressed=moves.suppressed.append,
    )


SHUTDOWN = Disconnect("server_shutdown", "bye")


async def test_nothing_is_sent_before_accept_or_after_the_end(
    connection: Connection, peer: FakeTransport, moves: Moves
) -> None:
    assert not await connection.send("early")
    await connection.accept(None)
    assert await connection.send("in time")
    await connection.close(SHUTDOWN)
    assert not await connection.send("late")
    assert peer.sent == ["in time"]
    assert moves.suppressed == [State.NEW, State.CLOSED]
    assert moves.states == [State.ACCEPTED, State.CLOSING, State.CLOSED]


async def test_the_first_close_counts_and_later_ones_do_nothing(
    connection: Connection, peer: FakeTransport
) -> None:
    await connection.accept(None)
    await asyncio.gather(
        connection.close(SHUTDOWN), connection.close(Disconnect("server_error", "no"))
    )
    assert peer.closed == (1012, "bye")


@pytest.mark.parametrize("end", [lost(), Disconnect("client_close", code_seen=1000)])
async def test_a_peer_that_has_gone_gets_no_close_frame(
    connection: Connection, peer: FakeTransport, end: Disconnect
) -> None:
    await connection.accept(None)
    peer.come(end)
    with pytest.raises(Disconnect):
        await connection.receive()
    await connection.close(SHUTDOWN)
    assert (peer.closed, connection.state) == (None, State.CLOSED)


async def test_a_send_to_a_lost_peer_says_false_and_touches_nothing_again(
    connection: Connection, peer: FakeTransport
) -> None:
    await connection.accept(None)
    peer.dead = True
    assert not await connection.send("one")
    peer.dead = False
    assert not await connection.send("two")
    assert peer.sent == []
    assert not connection.stalled


async def test_a_send_has_a_deadline(connection: Connection, peer: FakeTransport) -> None:
    await connection.accept(None)
    peer.stalled = True
    before = asyncio.get_running_loop().time()
    assert not await connection.send("stuck")
    assert asyncio.get_running_loop().time() - before == pytest.approx(10)
    assert connection.stalled


async def test_a_close_has_a_deadline(connection: Connection, peer: FakeTransport) -> None:
    await connection.accept(None)
    peer.stalled = True
    before = asyncio.get_running_loop().time()
    await connection.close(SHUTDOWN)
    assert asyncio.get_running_loop().time() - before == pytest.approx(2)
    assert connection.state is State.CLOSED


async def test_a_long_reason_is_cut_to_a_close_frame_between_characters(
    connection: Connection, peer: FakeTransport
) -> None:
    await connection.accept(None)
    await connection.close(Disconnect("server_shutdown", "\u20ac" * 100))
    assert peer.closed == (1012, "\u20ac" * 41)


async def test_last_words_are_what_receive_still_has_to_say(
    connection: Connection, peer: FakeTransport
) -> None:
    await connection.accept(None)
    peer.come("one more message", Disconnect("client_close", code_seen=4001))
    words = await connection.last_words(0.5)
    assert words is not None
    assert words.code_seen == 4001
    assert await Connection.last_words(connection, 0.5) is None


async def test_a_handshake_that_nobody_waits_for_is_no_connection(
    connection: Connection, peer: FakeTransport
) -> None:
    peer.dead = True
    assert not await connection.accept(None)
    assert connection.state is State.CLOSED
