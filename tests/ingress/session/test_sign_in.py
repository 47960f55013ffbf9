"""A session signs in, belongs to who did, and ends with its token."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from ingress.admission.gate import Visitor
from ingress.admission.principals import Principal, Tokens
from ingress.admission.refusal import Refused
from ingress.admission.tickets import Tickets, hash_ticket
from ingress.service import Service
from ingress.session.life import Session
from ingress.wire.words import SUBPROTOCOL, Dialect
from tests.ingress.fakes import FakeTransport, lost
from tests.ingress.session.meeting import Returning
from tests.ingress.turns import end_calls, settle
from tests.ingress.world import World, new_world

ADAS, BOBS = "a" * 32, "b" * 32
LIMITED = {"limits": {"hello_timeout_s": 5}}


class Book:
    """Tickets, on the loop's clock, after ``delay_s``; ``lost``: they cannot be asked."""

    def __init__(self) -> None:
        self.tickets = Tickets(30.0, 8)
        self.delay_s = 0.0
        self.lost = False

    async def issue(self, ticket: bytes, principal: Principal, origin: str | None) -> None:
        self.tickets.issue(ticket, principal, origin, asyncio.get_running_loop().time())

    async def redeem(self, ticket: bytes, origin: str | None) -> Principal:
        await asyncio.sleep(self.delay_s)
        if self.lost:
            raise Refused("store_lost")
        return self.tickets.redeem(ticket, origin, asyncio.get_running_loop().time())


class Guarded:
    """A world where clients sign in, and the clients that came."""

    def __init__(self, **groups: Any) -> None:
        self.world: World = new_world(**groups)
        self.book = Book()
        hashes = [(hashlib.sha256(t.encode()).hexdigest(), n) for t, n in
                  ((ADAS, "ada"), (BOBS, "bob"))]  # fmt: skip
        old = self.world.service
        self.world.service = Service(
            old.settings, old.modes, old.analyzer, old.analyst, old.census, old.store,
            type(old.metrics)(old.modes), old.pixels_of, Tokens(hashes), self.book,
        )  # fmt: skip
        self.world.store.rolls[:] = [self.world.service.roll]
        self.running: list[asyncio.Task[None]] = []
        self.sessions: list[Session] = []

    async def come(
        self, visitor: Visitor | None = None, *said: Any, peer: FakeTransport | None = None
    ) -> FakeTransport:
        peer = peer or FakeTransport()
        session = Session(self.world.service, peer, visitor or Visitor(SUBPROTOCOL))
        self.sessions.append(session)
        self.running.append(asyncio.create_task(session.run()))
        await settle()
        for message in said:
            peer.come(message if isinstance(message, str) else json.dumps(message))
        await settle(100)
        return peer


def hello(token: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "hello", **({"token": token} if token is not None else {}), **more}


def first(peer: FakeTransport) -> dict[str, Any]:
    assert isinstance(peer.sent[0], str)
    message: dict[str, Any] = json.loads(peer.sent[0])
    return message


@pytest.fixture
async def guarded() -> Any:
    made: list[Guarded] = []

    def make(**groups: Any) -> Guarded:
        made.append(Guarded(**groups))
        return made[-1]

    yield make
    for one in made:
        for running in one.running:
            running.cancel()
        await asyncio.gather(*one.running, return_exceptions=True)
        await end_calls(one.world.service)
        quotas = one.world.service.gate.quotas
        assert (quotas.ungreeted, quotas.sessions) == (0, 0), "every place is given back"


async def test_a_hello_with_a_token_is_welcomed_and_listed_by_its_name(guarded: Any) -> None:
    here = guarded()
    peer = await here.come(None, hello(ADAS))
    assert first(peer)["type"] == "welcome"
    (row,) = here.world.service.roll.describe()
    assert row["principal"] == "ada"
    assert ADAS not in json.dumps(row)


@pytest.mark.parametrize(
    ("said", "words", "counted"),
    [
        (hello(), "sign in", "token_missing"),
        (hello("wrong"), "the token is not accepted", "token_wrong"),
        (hello("ticket.made-up"), "there is no such ticket", "ticket_unknown"),
    ],
)
async def test_a_hello_that_does_not_sign_in_is_closed_with_3000_and_why(
    guarded: Any, said: dict[str, Any], words: str, counted: str
) -> None:
    here = guarded()
    peer = await here.come(None, said)
    code, reason = peer.closed
    assert code == 3000
    assert words in reason
    assert peer.sent == [], "it was told nothing else"
    assert here.world.count("ws_handshakes_rejected_total", reason=counted) == 1
    assert here.world.count(
        "ws_disconnects_total", reason="auth_rejected", initiator="server"
    ) == 1  # fmt: skip


async def test_a_frame_before_the_sign_in_is_not_analyzed(guarded: Any) -> None:
    here = guarded()
    peer = await here.come(None)
    peer.come(bytes([1, 1]) + bytes(18) + b"picture")
    await settle(100)
    assert first(peer)["code"] == "BAD_MESSAGE"
    assert here.world.analyzer.calls == []


async def test_who_signed_in_by_the_handshake_says_no_token(guarded: Any) -> None:
    here = guarded()
    peer = await here.come(Visitor(SUBPROTOCOL, principal=Principal("ada")), hello())
    assert first(peer)["type"] == "welcome"
    plain = await here.come(Visitor(None, principal=Principal("ada")))
    assert first(plain)["type"] == "connected"


async def test_a_ticket_is_redeemed_once_while_frames_must_wait(guarded: Any) -> None:
    here = guarded()
    here.book.delay_s = 1.0
    await here.book.issue(hash_ticket("ticket.x"), Principal("ada"), None)
    peer = await here.come(None, hello("ticket.x"), hello("ticket.x"))
    assert "was said already" in first(peer)["message"]
    await asyncio.sleep(1.1)
    await settle()
    assert json.loads(peer.sent[1])["type"] == "welcome"
    again = await here.come(None, hello("ticket.x"))
    await asyncio.sleep(1.1)
    await settle()
    assert again.closed == (
        3000, "the ticket was redeemed before; get a new one for each connection"
    )  # fmt: skip


async def test_a_book_that_cannot_be_asked_sends_the_client_away_for_now(guarded: Any) -> None:
    here = guarded()
    here.book.lost = True
    peer = await here.come(None, hello("ticket.x"))
    assert peer.closed[0] == 1013


async def test_a_client_that_is_lost_while_its_ticket_is_looked_up_gets_nothing(
    guarded: Any,
) -> None:
    here = guarded()
    here.book.delay_s = 1.0
    await here.book.issue(hash_ticket("ticket.x"), Principal("ada"), None)
    peer = await here.come(None, hello("ticket.x"), peer=FakeTransport())
    peer.come(lost())
    await asyncio.sleep(2)
    assert peer.sent == []
    assert len(here.world.service.roll) == 0


async def test_when_the_token_ends_the_session_does_and_is_kept_for_its_principal(
    guarded: Any,
) -> None:
    here = guarded()
    ends_soon = Principal("ada", time.time() + 3)
    client = Returning()
    visitor = Visitor(SUBPROTOCOL, principal=ends_soon)
    client.peer = await here.come(visitor, hello())
    await client.heard()
    assert client.peer.closed is None
    await asyncio.sleep(3.5)
    await settle(100)
    ended: tuple[int, str] | None = client.peer.closed
    assert ended is not None
    assert ended[0] == 4202
    bye = json.loads(client.peer.sent[-1])
    assert (bye["reason"], bye["resume"]) == ("auth_expired", True)
    back = FakeTransport()
    client.hello(back)
    await here.come(replace(visitor, principal=Principal("ada")), peer=back)
    assert first(back)["resumed"] is True


async def test_the_session_of_another_principal_is_not_to_be_had(guarded: Any) -> None:
    here = guarded()
    client = Returning()
    adas = Visitor(SUBPROTOCOL, principal=Principal("ada"))
    client.peer = await here.come(adas, hello())
    await client.heard()
    client.peer.come(lost())
    await settle(100)
    thief = FakeTransport()
    client.hello(thief)
    await here.come(Visitor(SUBPROTOCOL, principal=Principal("bob")), peer=thief)
    welcome = first(thief)
    assert welcome["resumed"] is False
    assert "another principal's" in welcome["why"]
    assert here.world.count("session_resumes_total", outcome="of_another_principal") == 1
    mine = FakeTransport()
    client.hello(mine)
    await here.come(adas, peer=mine)
    assert first(mine)["resumed"] is True, "and it is still its own client's"


async def test_a_principal_may_have_so_many_sessions(guarded: Any) -> None:
    here = guarded(admission={"sessions_per_principal": 2})
    for _ in range(2):
        assert first(await here.come(None, hello(ADAS)))["type"] == "welcome"
    late = await here.come(None, hello(ADAS))
    assert late.closed[0] == 1013
    assert "this principal has as many sessions" in late.closed[1]
    assert here.world.count("ws_handshakes_rejected_total", reason="principal_sessions") == 1
    assert first(await here.come(None, hello(BOBS)))["type"] == "welcome"


async def test_where_all_is_full_the_returning_client_has_the_place(guarded: Any) -> None:
    here = guarded(admission={"max_sessions": 1, "returning_sessions": 1})
    client = Returning()
    client.peer = await here.come(None, hello(ADAS))
    await client.heard()
    client.peer.come(lost())
    await settle(100)
    assert first(await here.come(None, hello(BOBS)))["type"] == "welcome"
    new = await here.come(None, hello(BOBS))
    assert new.closed == (1013, "all sessions are taken; try again in a moment")
    back = FakeTransport()
    client.welcome["token"] = ADAS
    resume = {
        "session": client.welcome["session"], "token": client.welcome["resume_token"],
        "last_seq": 0, "last_control": 0,
    }  # fmt: skip
    await here.come(None, hello(ADAS, resume=resume), peer=back)
    assert first(back)["resumed"] is True
    late = await here.come(None)
    assert late.closed[0] == 1013, "not even a returning one has a place now"


async def test_the_ungreeted_leave_when_their_time_is_over(guarded: Any) -> None:
    here = guarded(**LIMITED)
    peers = [await here.come() for _ in range(5)]
    quotas = here.world.service.gate.quotas
    assert (quotas.ungreeted, quotas.sessions) == (5, 0)
    await asyncio.sleep(5.1)
    await settle(100)
    assert {peer.closed for peer in peers} == {(4001, "no hello within 5 s")}
    assert quotas.ungreeted == 0


async def test_a_plain_client_is_a_session_at_once(guarded: Any) -> None:
    here = guarded()
    visitor = Visitor(None, principal=Principal("ada"))
    assert visitor.dialect is Dialect.PLAIN
    await here.come(visitor)
    quotas = here.world.service.gate.quotas
    assert (quotas.ungreeted, quotas.sessions) == (0, 1)
