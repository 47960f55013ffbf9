"""Requests of HTTP have places of their own, and pictures a rate."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from ingress.admission import requests
from ingress.admission.refusal import Refused
from ingress.admission.requests import Requests
from ingress.settings import Http

A, B = "198.51.100.1", "198.51.100.2"


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def asked(clock: Clock | None = None, **numbers: Any) -> Requests:
    return Requests(Http.model_validate(numbers), clock or Clock())


def refused(act: Any, *details: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        act(*details)
    return caught.value


def test_places_are_few_and_are_given_back() -> None:
    room = asked(max_requests=3, requests_per_address=2)
    with ExitStack() as places:

        def enter(address: str | None) -> None:
            places.enter_context(room.place(address))

        enter(A)
        enter(A)
        assert refused(enter, A).refusal.name == "address_requests"
        enter(B)
        assert refused(enter, B).refusal.name == "requests"
        assert refused(enter, None).refusal.name == "requests"
        assert room.under_way == 3
    assert room.under_way == 0
    assert not room._under_way_of


def test_loopback_counts_towards_the_whole_alone() -> None:
    room = asked(max_requests=3, requests_per_address=1)
    with room.place(None), room.place(None):
        assert room.under_way == 2


def test_pictures_come_at_a_rate_and_who_is_too_fast_is_told_when() -> None:
    clock = Clock()
    room = asked(clock, pictures_per_s=0.5, pictures_burst=3)
    for _ in range(3):
        room.picture(A)
    late = refused(room.picture, A)
    assert (late.refusal.name, late.refusal.status) == ("pictures", 429)
    assert late.headers() == {"retry-after": "2"}
    room.picture(B)
    for _ in range(50):
        room.picture(None)
    clock.now_s += 2
    room.picture(A)
    assert refused(room.picture, A).headers() == {"retry-after": "2"}


def test_what_was_refused_is_not_charged() -> None:
    clock = Clock()
    room = asked(clock, pictures_per_s=1, pictures_burst=1)
    room.picture(A)
    for _ in range(100):
        refused(room.picture, A)
    clock.now_s += 1
    room.picture(A)


def test_strangers_addresses_are_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_MOST_BUCKETS", 50)
    clock = Clock()
    room = asked(clock, pictures_per_s=1, pictures_burst=1)
    for n in range(500):
        room.picture(f"stranger {n}")
        assert len(room._buckets) <= 50
    clock.now_s += 10
    room.picture(A)
    assert list(room._buckets) == [A]
