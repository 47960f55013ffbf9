"""A ticket is good once, soon, and for the page that got it."""

from __future__ import annotations

import pytest

from ingress.admission.principals import Principal
from ingress.admission.refusal import Refused
from ingress.admission.tickets import PREFIX, Tickets, hash_ticket, new_ticket

ADA, BOB = Principal("ada", 99.0), Principal("bob")
PAGE = "https://page.example"
TTL = 30.0


def book(per_principal: int = 4) -> Tickets:
    return Tickets(TTL, per_principal)


def refused(tickets: Tickets, key: bytes, origin: str | None = PAGE, now: float = 1.0) -> str:
    with pytest.raises(Refused) as caught:
        tickets.redeem(key, origin, now)
    return caught.value.refusal.name


def test_a_ticket_is_new_each_time_and_fit_for_a_subprotocol() -> None:
    one, other = new_ticket(), new_ticket()
    assert one != other
    assert one.startswith(PREFIX)
    assert len(one) > 40
    assert all(letter.isalnum() or letter in "-_." for letter in one)
    assert hash_ticket(one) != hash_ticket(other)


def test_it_is_redeemed_once() -> None:
    tickets = book()
    tickets.issue(b"a", ADA, PAGE, 0.0)
    assert tickets.redeem(b"a", PAGE, 1.0) == ADA
    assert refused(tickets, b"a") == "ticket_used"
    assert refused(tickets, b"never given") == "ticket_unknown"


@pytest.mark.parametrize("origin", [None, "https://evil.example", "http://page.example"])
def test_another_page_uses_it_up_and_gets_nothing(origin: str | None) -> None:
    tickets = book()
    tickets.issue(b"a", ADA, PAGE, 0.0)
    assert refused(tickets, b"a", origin) == "ticket_origin"
    assert refused(tickets, b"a", PAGE) == "ticket_used"


def test_its_time_runs_out_and_later_it_is_forgotten() -> None:
    tickets = book()
    tickets.issue(b"a", ADA, PAGE, 0.0)
    tickets.issue(b"b", ADA, PAGE, 0.0)
    assert refused(tickets, b"a", now=TTL) == "ticket_expired"
    assert refused(tickets, b"a", now=TTL + 1) == "ticket_used"
    assert refused(tickets, b"b", now=2 * TTL) == "ticket_unknown"
    assert len(tickets) == 0


def test_who_takes_many_loses_the_oldest_and_nobody_elses() -> None:
    tickets = book(per_principal=3)
    tickets.issue(b"bob's", BOB, PAGE, 0.0)
    for number in range(10_000):
        tickets.issue(str(number).encode(), ADA, PAGE, 0.5)
        assert len(tickets) <= 4
    assert tickets.redeem(b"bob's", PAGE, 1.0) == BOB
    assert refused(tickets, b"9996") == "ticket_unknown"
    assert tickets.redeem(b"9997", PAGE, 1.0) == ADA


def test_a_successor_goes_on_with_them_on_its_own_clock() -> None:
    old, new = book(), book()
    old.issue(b"a", ADA, PAGE, 100.0)
    old.issue(b"b", ADA, PAGE, 100.0)
    old.redeem(b"b", PAGE, 101.0)
    new.adopt(old.left(110.0), 5000.0)
    assert refused(new, b"b", now=5000.0) == "ticket_used"
    assert new.redeem(b"a", PAGE, 5019.0) == ADA
    late = book()
    late.adopt(old.left(110.0), 5000.0)
    assert refused(late, b"a", now=5020.0) == "ticket_expired"
    assert new.knows(b"a")
    assert not new.knows(b"c")
