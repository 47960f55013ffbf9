"""Which pages may open a connection."""

from __future__ import annotations

import pytest

from ingress.admission import origin_allowed


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
