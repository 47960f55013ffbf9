"""One connection: what is said over it, what keeps it alive, how it ends."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import ClientConnection

from client.dial import dial
from client.ledger import Ledger
from client.link import Link, parse_text
from client.outcomes import End
from ingress.disconnects import Advice
from ingress.wire.pictures import Frame, Result
from ingress.wire.replies import Bye, Error, ServerMessage, ServerPing, ServerPong, Welcome
from ingress.wire.requests import Ack, GetStats, Hello, Ping, Pong
from ingress.wire.text import encode_text
from ingress.wire.words import BadMessage, ErrorCode
from tests.client.fake_server import DEADLINE_S, FakeServer, Peer, welcome

Said = Result | ServerMessage


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of one connection, and what this one was told."""

    link: Link
    peer: Peer
    socket: ClientConnection
    ledger: Ledger
    told: asyncio.Queue[Said]
    running: asyncio.Task[End]

    async def send(self, image: bytes = b"jpeg") -> Frame:
        """One frame, as the server hears it."""
        await self.link.send_frame(self.ledger.open(), image)
        return await self.peer.hear(Frame)

    async def next(self) -> Said:
        async with asyncio.timeout(DEADLINE_S):
            return await self.told.get()

    async def end(self) -> End:
        async with asyncio.timeout(DEADLINE_S):
            return await self.running


@asynccontextmanager
async def linked(
    server: FakeServer,
    greeting: Welcome | None = None,
    take: Callable[[Said], None] = lambda message: None,
) -> AsyncIterator[Ends]:
    """A connection that lives; what comes is entered in the books, then given to ``take``."""
    accepting = asyncio.create_task(server.peer(greeting))
    opened = await dial(server.url, Hello(type="hello"), DEADLINE_S)
    ledger = Ledger(opened.welcome.max_in_flight)
    link = Link(opened.socket, opened.welcome, ledger)
    told = asyncio.Queue[Said]()

    def enter(message: Said) -> None:
        if isinstance(message, Result):
            ledger.on_result(message)
        take(message)
        told.put_nowait(message)

    running = asyncio.create_task(link.run(enter))
    try:
        yield Ends(link, await accepting, opened.socket, ledger, told, running)
    finally:
        running.cancel()
        await asyncio.wait([running])


# ------------------------------------------------------------------ frames and acknowledgements


async def test_a_frame_goes_out_and_its_result_comes_in(server: FakeServer) -> None:
    async with linked(server) as ends:
        frame = await ends.send(b"jpeg")
        assert (frame.seq, frame.image, frame.ack) == (1, b"jpeg", 0)
        await ends.peer.answer(frame, b"mask")
        result = await ends.next()
        assert isinstance(result, Result)
        assert (result.frame_seq, result.payload) == (1, b"mask")
        assert result.captured_us == frame.captured_us


async def test_the_next_frame_carries_the_acknowledgement(server: FakeServer) -> None:
    async with linked(server) as ends:
        seq = await ends.peer.answer(await ends.send())
        await ends.next()
        assert (await ends.send()).ack == seq
        assert (await ends.send()).ack == seq  # and no ack came in between


async def test_an_acknowledgement_goes_alone_when_no_frame_carries_it(server: FakeServer) -> None:
    async with linked(server) as ends:
        seq = await ends.peer.answer(await ends.send())
        assert (await ends.peer.hear(Ack)).seq == seq


async def test_an_acknowledgement_waits_for_nothing_once_half_of_the_credit_is_owed(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.link._ACK_DELAY_S", 3600.0)
    async with linked(server, welcome(max_in_flight=4)) as ends:
        first, second = await ends.send(), await ends.send()
        await ends.peer.answer(first)
        newest = await ends.peer.answer(second)
        assert (await ends.peer.hear(Ack)).seq == newest


async def test_one_acknowledgement_covers_several_results(server: FakeServer) -> None:
    async with linked(server) as ends:
        for frame in [await ends.send() for _ in range(3)]:
            newest = await ends.peer.answer(frame)
        acks = [await ends.peer.hear(Ack)]
        while acks[-1].seq < newest:
            acks.append(await ends.peer.hear(Ack))
        assert len(acks) <= 2


async def test_a_frame_for_a_lost_connection_is_let_go_when_the_end_is_known(
    server: FakeServer,
) -> None:
    async with linked(server) as ends:
        ends.peer.cut()
        await ends.end()
        async with asyncio.timeout(DEADLINE_S):
            await ends.link.send_frame(ends.ledger.open(), b"jpeg")
        assert ends.link.over.is_set()


# ------------------------------------------------------------------ text


async def test_what_is_posted_goes_out_in_order(server: FakeServer) -> None:
    async with linked(server) as ends:
        for number in range(1, 9):
            ends.link.post(encode_text(GetStats(type="get_stats", id=number)))
        assert [(await ends.peer.hear(GetStats)).id for _ in range(8)] == list(range(1, 9))


async def test_what_is_about_the_connection_alone_stays_with_it(server: FakeServer) -> None:
    async with linked(server) as ends:
        own = (ServerPing(t=1), ServerPong(t=1), welcome())
        for message in (*own, Bye(reason="server_shutdown", retry_ms=(0, 1), resume=True)):
            await ends.peer.say(message)
        after = Error(code=ErrorCode.OVERLOADED, message="after")
        await ends.peer.say(after)
        assert await ends.next() == after


async def test_a_message_that_only_newer_servers_send_has_its_number_alone(
    server: FakeServer,
) -> None:
    async with linked(server) as ends:
        await ends.peer.socket.send('{"type":"news","control_seq":7,"about":{}}')
        news = await ends.next()
        assert isinstance(news, ServerMessage)
        assert news.control_seq == 7


@pytest.mark.parametrize("text", ["{", "[]", '{"kind":"news"}', '{"type":"dropped"}', '{"type":1}'])
def test_text_that_is_no_message_is_not_understood(text: str) -> None:
    with pytest.raises(BadMessage):
        parse_text(text)


# ------------------------------------------------------------------ liveness


async def test_a_ping_is_answered_with_its_own_number(server: FakeServer) -> None:
    async with linked(server) as ends:
        await ends.peer.say(ServerPing(t=41.5))
        assert (await ends.peer.hear(Pong)).t == 41.5


async def test_the_client_pings_every_heartbeat(server: FakeServer) -> None:
    async with linked(server, welcome(heartbeat_s=0.01)) as ends:
        first, second = await ends.peer.hear(Ping), await ends.peer.hear(Ping)
        assert second.t > first.t


async def test_a_server_that_falls_silent_is_cut(server: FakeServer) -> None:
    async with linked(server, welcome(heartbeat_s=0.05, timeout_s=0.05)) as ends:
        end = await ends.end()
        assert (end.code, end.reason) == (4201, "nothing heard for 0.1 s")
        assert end.advice is Advice.AT_ONCE
        await ends.peer.socket.wait_closed()
        assert ends.peer.socket.close_code == 1006


async def test_any_message_counts_as_life(server: FakeServer) -> None:
    async with linked(server, welcome(heartbeat_s=0.02, timeout_s=1.0)) as ends:
        first = t = (await ends.peer.hear(Ping)).t
        while t < first + 1_200_000:  # microseconds: longer than the silence allowed
            await ends.peer.say(ServerPong(t=t))
            t = (await ends.peer.hear(Ping)).t
        assert not ends.running.done()


# ------------------------------------------------------------------ the end


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (1000, "", Advice.CLIENTS_CHOICE),
        (1011, "server_error", Advice.BACK_OFF),
        (1012, "server_shutdown", Advice.IN_WINDOW),
        (1013, "overloaded", Advice.BACK_OFF),
        (3000, "auth_rejected", Advice.NEVER),
        (4000, "idle_timeout", Advice.ON_USER_ACTION),
        (4002, "replaced", Advice.NEVER),
        (4050, "some new reason", Advice.NEVER),
        (4101, "slow_consumer", Advice.BACK_OFF),
        (4150, "some new reason", Advice.BACK_OFF),
        (4202, "auth_expired", Advice.WITH_NEW_TOKEN),
        (4250, "some new reason", Advice.AT_ONCE),
    ],
)
async def test_the_close_code_says_what_to_do(
    server: FakeServer, code: int, reason: str, advice: Advice
) -> None:
    async with linked(server) as ends:
        await ends.peer.socket.close(code, reason)
        end = await ends.end()
    assert (end.code, end.reason, end.advice) == (code, reason, advice)


async def test_a_lost_connection_is_1006_and_has_the_window_of_the_welcome(
    server: FakeServer,
) -> None:
    async with linked(server) as ends:
        ends.peer.cut()
        end = await ends.end()
    assert end == End(1006, "connection lost", welcome().retry_ms)
    assert end.advice is Advice.JITTERED


async def test_bye_gives_the_window_for_a_reconnect(server: FakeServer) -> None:
    async with linked(server) as ends:
        await ends.peer.say(Bye(reason="server_shutdown", retry_ms=(100, 900), resume=True))
        await ends.peer.socket.close(1012, "server_shutdown")
        assert (await ends.end()).retry_ms == (100, 900)


@pytest.mark.parametrize(
    ("token", "resume", "keeps"), [("t1", True, True), ("t1", False, False), (None, True, False)]
)
async def test_a_session_is_kept_where_there_is_a_token_and_no_bye_takes_it_back(
    server: FakeServer, token: str | None, resume: bool, keeps: bool
) -> None:
    async with linked(server, welcome(resume_token=token)) as ends:
        assert ends.link.keeps == (token is not None)
        await ends.peer.say(Bye(reason="server_shutdown", retry_ms=(0, 1), resume=resume))
        await ends.peer.socket.close(1012)
        await ends.end()
        assert ends.link.keeps is keeps


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        '{"kind":"news"}',
        '{"type":"dropped"}',
        b"\x01",
        struct.pack("<BBHIIIQ", 1, 2, 0, 1, 1, 9, 0),
    ],
)
async def test_a_server_that_cannot_be_understood_is_left(
    server: FakeServer, nonsense: str | bytes
) -> None:
    async with linked(server) as ends:
        await ends.peer.socket.send(nonsense)
        end = await ends.end()
        await ends.peer.socket.wait_closed()
    assert end.code == 1002
    assert end.reason.startswith("the server sent ")
    assert ends.peer.socket.close_code == 1002


async def test_a_message_that_the_taker_cannot_place_ends_the_connection_too(
    server: FakeServer,
) -> None:
    def refuse(message: Said) -> None:
        raise BadMessage("what nobody asked for")

    async with linked(server, take=refuse) as ends:
        await ends.peer.say(Error(code=ErrorCode.OVERLOADED, message="busy"))
        end = await ends.end()
    assert (end.code, end.reason) == (1002, "the server sent what nobody asked for")


async def test_a_fault_of_the_taker_comes_out_and_leaves_no_connection(server: FakeServer) -> None:
    def fail(message: Said) -> None:
        raise ZeroDivisionError

    async with linked(server, take=fail) as ends:
        await ends.peer.say(Error(code=ErrorCode.OVERLOADED, message="busy"))
        with pytest.raises(ExceptionGroup) as caught:
            await ends.end()
        assert caught.group_contains(ZeroDivisionError)
        assert ends.link.over.is_set()
        await ends.peer.socket.wait_closed()


async def test_leaving_closes_normally(server: FakeServer) -> None:
    async with linked(server) as ends:
        await ends.link.close()
        assert (await ends.end()).code == 1000
    assert ends.peer.socket.close_code == 1000


async def test_leaving_a_server_that_reads_nothing_has_a_deadline(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.link._CLOSE_TIMEOUT_S", 0.05)
    async with linked(server) as ends:
        ends.peer.socket.transport.pause_reading()
        async with asyncio.timeout(DEADLINE_S):
            await ends.link.close()
        assert ends.link.over.is_set()
        assert ends.peer.socket.close_code is None  # it never took part
        ends.peer.cut()


async def test_one_that_is_given_up_is_cut_because_a_close_would_end_the_session(
    server: FakeServer,
) -> None:
    async with linked(server) as ends:
        await ends.send()
        ends.running.cancel()
        await ends.peer.socket.wait_closed()
        assert ends.peer.socket.close_code == 1006
        assert ends.link.over.is_set()
