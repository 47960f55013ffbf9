"""Which pages may open a connection."""

from __future__ import annotations

import hashlib

import pytest

from ingress.door.admission import is_operator, origin_allowed


@pytest.mark.parametrize(
    ("origin", "allowed", "may"),
    [
        (None, (), True),
        ("https://evil.example", ("*",), True),
        ("https://evil.example", ("https://good.example",), False),
        ("https://Good.example", ("https://good.example",), True),
        ("https://good.example:8443", ("https://good.example",), False),
        ("null", ("https://good.example",), False),
    ],
)
def test_an_origin_is_allowed_by_name(
    origin: str | None, allowed: tuple[str, ...], may: bool
) -> None:
    assert origin_allowed(origin, allowed) is may


@pytest.mark.parametrize(
    ("authorization", "may"),
    [
        ("Bearer opensesame", True),
        ("bearer  opensesame ", True),
        ("Bearer opensesam", False),
        ("Bearer opensesamee", False),
        ("Basic opensesame", False),
        ("opensesame", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("Bearer \u20ac", False),
        ("", False),
        (None, False),
    ],
)
def test_an_operator_has_the_token(authorization: str | None, may: bool) -> None:
    expected = hashlib.sha256(b"opensesame").hexdigest()
    assert is_operator(authorization, expected) is may
