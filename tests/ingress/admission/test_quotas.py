"""Places are few, are given back, and who returns comes before who is new."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.admission.quotas import Place, Quotas
from ingress.admission.refusal import Refused
from ingress.policy import Admission

A, B = "198.51.100.1", "198.51.100.2"


def quotas(**numbers: Any) -> Quotas:
    return Quotas(Admission.model_validate(numbers))


def enter(places: Quotas, address: str | None = A) -> Place:
    places.knock(address)
    return places.enter(address)


def refused(act: Any, *details: Any, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        act(*details, **options)
    return caught.value.refusal.name


def test_the_ungreeted_are_counted_apart() -> None:
    places = quotas(max_ungreeted=3, ungreeted_per_address=2)
    mine = [enter(places), enter(places)]
    assert refused(enter, places) == "address_ungreeted"
    enter(places, B)
    assert refused(enter, places, "198.51.100.3") == "ungreeted"
    assert refused(enter, places, None) == "ungreeted"
    mine[0].greet(None, returning=False)
    assert (places.ungreeted, places.sessions) == (2, 1)
    enter(places)


def test_one_address_does_not_take_all_places() -> None:
    places = quotas(sessions_per_address=3)
    mine = [enter(places) for _ in range(3)]
    for place in mine[:2]:
        place.greet(None, returning=False)
    assert refused(enter, places) == "address_sessions"
    enter(places, B)
    mine[0].leave()
    enter(places)


def test_loopback_and_the_unknown_have_no_quota_of_their_own() -> None:
    places = quotas(sessions_per_address=1, ungreeted_per_address=1, max_ungreeted=100)
    for _ in range(100):
        enter(places, None)
    assert refused(enter, places, None) == "ungreeted"


def test_a_principal_has_its_sessions_wherever_it_comes_from() -> None:
    places = quotas(sessions_per_principal=2)
    for address in (A, B):
        enter(places, address).greet("ada", returning=False)
    third = enter(places, None)
    assert refused(third.greet, "ada", returning=False) == "principal_sessions"
    enter(places, A).greet("bob", returning=False)
    third.greet("ada", returning=True)  # takes over one of its own, which is about to end
    assert refused(enter(places).greet, "ada", returning=True) == "principal_sessions"


def test_returning_sessions_come_before_new_ones() -> None:
    places = quotas(max_sessions=2, returning_sessions=1)
    for _ in range(2):
        enter(places).greet(None, returning=False)
    late = enter(places)
    assert refused(late.greet, None, returning=False) == "sessions"
    assert places.has_room(returning=True)
    late.greet(None, returning=True)
    assert not places.has_room(returning=True)
    assert refused(enter(places).greet, None, returning=True) == "sessions"


def test_who_was_refused_gives_back_what_it_had() -> None:
    places = quotas(max_sessions=1)
    first, second = enter(places), enter(places)
    first.greet("ada", returning=False)
    assert refused(second.greet, "bob", returning=False) == "sessions"
    for place in (first, second, second, first):
        place.leave()
    assert (places.ungreeted, places.sessions) == (0, 0)


def test_nothing_is_kept_of_addresses_that_have_left() -> None:
    places = quotas()
    for number in range(1000):
        place = enter(places, f"198.51.{number // 250}.{number % 250}")
        place.greet(str(number), returning=False)
        place.leave()
    counters = (places._ungreeted_of, places._sessions_of, places._sessions_as)
    assert [len(counter) for counter in counters] == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([A, B, None]), st.booleans())))
def test_no_order_of_events_passes_a_bound(steps: list[tuple[int, str | None, bool]]) -> None:
    places = quotas(
        max_sessions=3, returning_sessions=1, max_ungreeted=3, ungreeted_per_address=2,
        sessions_per_address=3, sessions_per_principal=2,
    )  # fmt: skip
    inside: list[Place] = []
    for kind, address, returning in steps:
        try:
            if kind == 0:
                inside.append(enter(places, address))
            elif kind == 1 and inside and not inside[-1]._greeted:
                inside[-1].greet(address, returning=returning)
            elif inside:
                inside.pop(0).leave()
        except Refused:
            pass
        assert places.ungreeted <= 3
        assert places.sessions <= 4
        assert places.ungreeted + places.sessions == len(inside)
        assert all(count <= 2 for count in places._ungreeted_of.values())
        assert all(count <= 3 for count in places._sessions_as.values())


class Door:
    """Sockets that come one after the other, and a clock."""

    def __init__(self, **numbers: Any) -> None:
        self.now = 0.0
        self.gone: list[int] = []
        self.places = Quotas(Admission.model_validate(numbers), lambda: self.now)
        self._count = 0

    def come(self, address: str | None = None) -> Place:
        number, self._count = self._count, self._count + 1
        self.places.knock(address)
        return self.places.enter(address, give_way=lambda: self.gone.append(number))


def test_the_oldest_that_is_silent_gives_way_once_it_has_had_its_time() -> None:
    door = Door(max_ungreeted=3, ungreeted_grace_s=1.0)
    places = [door.come() for _ in range(3)]
    door.now = 0.9
    assert refused(door.come) == "ungreeted"
    door.now = 1.0
    for _ in range(3):
        door.come()
    assert door.gone == [0, 1, 2]
    assert door.places.ungreeted == 3
    assert refused(door.come) == "ungreeted", "the new ones have their time, too"
    for place in places:
        assert refused(place.greet, None, returning=False) == "ungreeted"
        place.leave()
    assert (door.places.ungreeted, door.places.sessions) == (3, 0)


def test_who_has_been_greeted_or_has_left_does_not_give_way() -> None:
    door = Door(max_ungreeted=2)
    greeted, left = door.come(), door.come()
    greeted.greet(None, returning=False)
    left.leave()
    door.come(), door.come()
    door.now = 60
    door.come()
    assert door.gone == [2]
    assert len(door.places._silent) == 2


def test_an_address_with_too_many_of_them_makes_nobody_give_way() -> None:
    door = Door(max_ungreeted=2, ungreeted_per_address=1)
    door.come(A), door.come(B)
    door.now = 60
    assert refused(door.come, A) == "address_ungreeted"
    assert door.gone == []
