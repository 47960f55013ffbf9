"""The gate: in which order it asks, what it lets through, and that it counts whom it keeps out."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ingress.admission.gate import Gate, Knock, Visitor
from ingress.admission.principals import Principal, Tokens
from ingress.admission.refusal import Refused
from ingress.admission.tickets import PREFIX, Tickets, hash_ticket
from ingress.policy import Admission
from ingress.settings import Http
from ingress.wire.words import Dialect

TOKEN = "t" * 32
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
ADA = Principal("ada")
PAGE = "http://localhost:8000"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Book:
    """One book of tickets, on a clock that stands still; ``lost``: it does not answer."""

    def __init__(self) -> None:
        self.kept = Tickets(30.0, 4)
        self.now = 0.0
        self.lost = False

    async def issue(self, ticket: bytes, principal: Principal, origin: str | None) -> None:
        self._ask()
        self.kept.issue(ticket, principal, origin, self.now)

    async def redeem(self, ticket: bytes, origin: str | None) -> Principal:
        self._ask()
        return self.kept.redeem(ticket, origin, self.now)

    def _ask(self) -> None:
        if self.lost:
            raise Refused("store_lost")


class Door:
    """A gate, its book, and what it counted."""

    def __init__(
        self, *, signing: bool = True, listens_on: str | None = "127.0.0.1", **settings: Any
    ) -> None:
        self.book, self.counted = Book(), Counter[str]()
        self.gate = Gate(
            Admission.model_validate(settings),
            Http(pictures_per_s=1, pictures_burst=2, requests_per_address=1),
            listens_on,
            Tokens([(SHA256, "ada")]) if signing else None,
            self.book,
            None,
            lambda name, number: self.counted.update({name: number}),
        )

    async def meet(self, *offered: str, peer: str = "127.0.0.1", **headers: str) -> Visitor:
        return await self.gate.meet(knock(*offered, peer=peer, **headers))

    async def refused(self, *offered: str, peer: str = "127.0.0.1", **headers: str) -> str:
        before = self.counted.total()
        with pytest.raises(Refused) as caught:
            await self.meet(*offered, peer=peer, **headers)
        name = caught.value.refusal.name
        assert self.counted.total() == before + 1
        assert self.counted[name]
        assert TOKEN not in repr(caught.value) + caught.value.words
        return name

    async def ticket(self, **headers: str) -> str:
        return await self.gate.give_ticket(knock(**{**BEARER, "origin": PAGE, **headers}))


def knock(*offered: str, peer: str = "127.0.0.1", **headers: str) -> Knock:
    named: Mapping[str, str] = {
        "host": "localhost:8000", **{n.replace("_", "-"): v for n, v in headers.items()}
    }  # fmt: skip
    return Knock(peer, named, "ws", offered)


V1 = "segstream.v1"


@pytest.mark.parametrize(
    ("offered", "chosen", "dialect"),
    [
        ((), None, Dialect.PLAIN),
        (("chat",), None, Dialect.PLAIN),
        ((V1,), V1, Dialect.V1),
        (("segstream.plain", "chat"), "segstream.plain", Dialect.PLAIN),
        (("chat", "segstream.plain", V1), V1, Dialect.V1),
    ],
)
async def test_where_nobody_is_asked_everybody_of_a_known_page_comes_in(
    offered: Sequence[str], chosen: str | None, dialect: Dialect
) -> None:
    visitor = await Door(signing=False).meet(*offered, origin=PAGE)
    assert (visitor.subprotocol, visitor.dialect, visitor.origin) == (chosen, dialect, PAGE)
    assert (visitor.principal, visitor.address) == (None, None)


async def test_pages_and_names_come_before_tokens() -> None:
    door = Door()
    assert await door.refused(V1, host="evil.example:8000", **BEARER) == "host"
    assert await door.refused(V1, origin="https://evil.example", **BEARER) == "origin"
    assert (await door.meet(V1, origin=PAGE, **BEARER)).principal == ADA


async def test_a_refused_page_is_told_the_line_that_would_let_it_in() -> None:
    door = Door()
    for origin, line in (
        ("https://a.example:8443", 'allowed_origins: ["https://a.example:8443"] would let it in'),
        ("<script>", "allowed_origins: [ORIGIN] would let it in"),
    ):
        with pytest.raises(Refused) as caught:
            await door.meet(V1, origin=origin)
        assert caught.value.words.endswith(line)
    assert (await Door(allowed_origins=["https://a.example:8443"], signing=False).meet(
        origin="https://a.example:8443"
    )).origin == "https://a.example:8443"  # fmt: skip


async def test_a_header_signs_in_both_dialects() -> None:
    door = Door()
    for offered in ((), (V1,)):
        assert (await door.meet(*offered, **BEARER)).principal == ADA
        assert await door.refused(*offered, authorization="Bearer wrong") == "token_wrong"
        assert await door.refused(*offered, authorization="Basic x") == "token_missing"


async def test_without_a_header_v1_may_still_say_it_and_plain_may_not() -> None:
    door = Door()
    assert await door.refused() == "token_missing"
    visitor = await door.meet(V1)
    assert visitor.principal is None
    assert door.gate.sign_in(visitor, TOKEN) == ADA
    for token, name in ((None, "token_missing"), ("", "token_missing"), ("x", "token_wrong")):
        with pytest.raises(Refused) as caught:
            door.gate.sign_in(visitor, token)
        assert caught.value.refusal.name == name
        assert door.counted[name] >= 1


async def test_who_signed_in_by_the_handshake_is_not_asked_again() -> None:
    door = Door()
    visitor = await door.meet(V1, **BEARER)
    assert not door.gate.redeems(visitor, f"{PREFIX}x")
    assert door.gate.sign_in(visitor, "anything") == ADA
    free = Door(signing=False)
    assert free.gate.sign_in(await free.meet(V1), "anything") is None


async def test_a_ticket_signs_in_once_as_hello_or_as_subprotocol() -> None:
    door = Door()
    ticket = await door.ticket()
    visitor = await door.meet(V1, origin=PAGE)
    assert door.gate.redeems(visitor, ticket)
    assert await door.gate.redeem(visitor, ticket) == ADA
    with pytest.raises(Refused) as caught:
        await door.gate.redeem(visitor, ticket)
    assert caught.value.refusal.name == "ticket_used"
    for offered in (("segstream.plain",), (V1,)):
        ticket = await door.ticket()
        visitor = await door.meet(*offered, f"segstream.{ticket}", origin=PAGE)
        assert (visitor.principal, visitor.subprotocol) == (ADA, offered[0])
        again = await door.refused(*offered, f"segstream.{ticket}", origin=PAGE)
        assert again == "ticket_used"


async def test_a_ticket_is_of_its_page_and_of_its_time() -> None:
    door = Door(allowed_origins=["https://another.example"])
    ticket = f"segstream.{await door.ticket()}"
    assert await door.refused(V1, ticket, origin="https://another.example") == "ticket_origin"
    ticket = f"segstream.{await door.ticket()}"
    assert await door.refused(V1, ticket) == "ticket_origin", "a program has no page"
    ticket = f"segstream.{await door.ticket()}"
    door.book.now = 31.0
    assert await door.refused(V1, ticket, origin=PAGE) == "ticket_expired"
    assert await door.refused(V1, "segstream.ticket.made-up", origin=PAGE) == "ticket_unknown"
    assert await door.refused(V1, "segstream.ticket." + "x" * 9000) == "ticket_unknown"


async def test_a_ticket_costs_a_token_and_lives_no_longer_than_it() -> None:
    door = Door()
    for wrong in ({"authorization": "Bearer wrong"}, {"authorization": "Bearer "}):
        with pytest.raises(Refused):
            await door.ticket(**wrong)
    expired = Principal("bob", time.time() - 1)
    door.book.kept.issue(hash_ticket("ticket.b"), expired, None, 0.0)
    assert await door.refused(V1, "segstream.ticket.b") == "token_expired"


async def test_a_book_that_does_not_answer_is_no_wrong_ticket() -> None:
    door = Door()
    ticket = await door.ticket()
    door.book.lost = True
    assert await door.refused(V1, f"segstream.{ticket}", origin=PAGE) == "store_lost"
    door.book.lost = False
    assert (await door.meet(V1, f"segstream.{ticket}", origin=PAGE)).principal == ADA


async def test_one_too_many_is_refused_before_its_token_is_looked_at() -> None:
    door = Door(listens_on="0.0.0.0", max_ungreeted=2, ungreeted_per_address=1)
    door.gate.quotas.enter((await door.meet(V1, peer="198.51.100.1")).address)
    wrong = {"authorization": "Bearer wrong"}
    assert await door.refused(V1, peer="198.51.100.1", **wrong) == "address_ungreeted"
    door.gate.quotas.enter((await door.meet(V1, peer="198.51.100.2")).address)
    assert await door.refused(V1, peer="198.51.100.3", **wrong) == "ungreeted"


async def test_who_waits_for_the_book_of_tickets_has_a_place_meanwhile() -> None:
    door = Door(listens_on="0.0.0.0", max_ungreeted=2)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def redeem(ticket: bytes, origin: str | None) -> Principal:
        asked.set()
        await answered.wait()
        raise Refused("ticket_unknown")

    door.book.redeem = redeem  # type: ignore[method-assign]
    waiting = [
        asyncio.create_task(door.meet(V1, "segstream.ticket.x", peer=f"198.51.100.{number}"))
        for number in range(50)
    ]
    await asyncio.wait_for(asked.wait(), 5)
    await asyncio.sleep(0)
    assert door.gate.quotas.ungreeted == 2
    answered.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    names = Counter(error.refusal.name for error in ended if isinstance(error, Refused))
    assert names == {"ungreeted": 48, "ticket_unknown": 2}
    assert door.gate.quotas.ungreeted == 0


async def test_a_refusal_is_logged_with_the_line_of_yaml_and_without_the_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Door()
    await door.refused(V1, origin="https://a.example:8443", **BEARER)
    await door.refused(V1, authorization="Bearer not-the-token")
    assert 'allowed_origins: ["https://a.example:8443"] would let it in' in caplog.text
    assert "kept out (token_wrong)" in caplog.text
    assert TOKEN not in caplog.text
    assert "not-the-token" not in caplog.text


async def test_quotas_count_the_address_that_a_trusted_proxy_names() -> None:
    door = Door(signing=False, listens_on="0.0.0.0", trusted_proxies=["10.0.0.0/8"])
    visitor = await door.meet(peer="10.0.0.9", x_forwarded_for="6.6.6.6, 198.51.100.1, 10.1.1.1")
    assert visitor.address == "198.51.100.1"
    visitor = await door.meet(peer="11.0.0.9", x_forwarded_for="198.51.100.1")
    assert visitor.address == "11.0.0.9"


# ------------------------------------------------------------------ HTTP


@pytest.mark.parametrize(
    ("listens_on", "settings", "peer", "headers", "may"),
    [
        ("127.0.0.1", {}, "127.0.0.1", {}, True),
        ("127.0.0.1", {}, "127.0.0.1", {"x_forwarded_for": "198.51.100.1"}, False),
        ("127.0.0.1", {}, "127.0.0.1", {"x_forwarded_proto": "https"}, False),
        ("127.0.0.1", {}, "127.0.0.1", {"host": "evil.example"}, False),
        ("0.0.0.0", {}, "127.0.0.1", {}, False),
        (None, {}, "127.0.0.1", {}, False),
        ("0.0.0.0", {}, "127.0.0.1", BEARER, False),
        ("0.0.0.0", {"operator_token_sha256": SHA256}, "198.51.100.1", BEARER, True),
        ("0.0.0.0", {"operator_token_sha256": SHA256}, "198.51.100.1", {}, False),
        ("0.0.0.0", {"metrics_addresses": ["198.51.100.0/24"]}, "198.51.100.1", {}, True),
        ("0.0.0.0", {"metrics_addresses": ["198.51.100.0/24"]}, "198.51.101.1", {}, False),
        ("0.0.0.0", {"metrics_addresses": ["198.51.100.0/24"]}, "6.6.6.6",
         {"x_forwarded_for": "198.51.100.1"}, False),
    ],
)  # fmt: skip
def test_metrics_are_for_this_machine_the_operator_and_named_addresses(
    listens_on: str | None, settings: dict[str, Any], peer: str, headers: dict[str, str], may: bool
) -> None:
    gate = Door(listens_on=listens_on, **settings).gate
    assert gate.may_scrape(knock(peer=peer, **headers)) is may


def test_a_request_signs_in_by_its_header() -> None:
    gate = Door().gate
    assert gate.sign_in_by_header(knock(**BEARER)) == ADA
    assert Door(signing=False).gate.sign_in_by_header(knock()) is None
    with pytest.raises(Refused) as caught:
        gate.sign_in_by_header(knock())
    assert caught.value.refusal.name == "token_missing"


def test_pictures_by_http_are_counted_by_principal_and_by_address_where_nobody_is_asked() -> None:
    door = Door()
    for address in ("198.51.100.1", "198.51.100.2"):
        door.gate.picture(knock(peer=address, **BEARER))
    with pytest.raises(Refused, match="pictures"):
        door.gate.picture(knock(peer="198.51.100.3", **BEARER))
    door = Door(signing=False, listens_on="0.0.0.0")
    for address in ("198.51.100.1", "198.51.100.1", "198.51.100.2"):
        door.gate.picture(knock(peer=address))
    with pytest.raises(Refused, match="pictures"):
        door.gate.picture(knock(peer="198.51.100.1"))
    for _ in range(10):
        door.gate.picture(knock())
    assert door.counted == {"pictures": 1}


def test_a_request_that_finds_no_place_is_counted() -> None:
    door = Door(signing=False, listens_on="0.0.0.0")
    caller = door.gate.caller(knock(peer="198.51.100.1"))
    with (
        door.gate.request(caller),
        pytest.raises(Refused, match="address_requests"),
        door.gate.request(caller),
    ):
        raise AssertionError
    with door.gate.request(caller):
        pass
    assert door.counted == {"address_requests": 1}


def test_whom_the_server_in_front_has_kept_out_is_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Door()
    door.gate.heard_of({"connections": 7, "requests": 2})
    assert door.counted == {"connections": 7, "requests": 2}
    assert [record.getMessage() for record in caplog.records] == [
        "a client is kept out (connections): 7 in front of Serve",
        "a client is kept out (requests): 2 in front of Serve",
    ]
