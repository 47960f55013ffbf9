"""Which pages may come in, and by which name they may ask."""

from __future__ import annotations

import ipaddress

import pytest

from ingress.admission.addresses import Caller
from ingress.admission.origin import Origins, is_origin

HERE = ipaddress.ip_address("127.0.0.1")


def origins(*allowed: str, hosts: tuple[str, ...] = (), on_loopback: bool = True) -> Origins:
    return Origins(allowed, hosts, on_loopback=on_loopback)


@pytest.mark.parametrize(
    ("origin", "host", "secure", "may"),
    [
        ("https://seg.example", "seg.example", None, True),  # TLS ended by a proxy unseen
        ("https://seg.example", "seg.example", True, True),
        ("http://seg.example", "seg.example", True, False),
        ("http://seg.example:8000", "seg.example:8000", None, True),
        ("http://seg.example", "seg.example:80", None, True),
        ("https://seg.example", "seg.example:443", None, True),
        ("http://seg.example:8001", "seg.example:8000", None, False),
        ("https://seg.example:8443", "seg.example", None, False),
        ("http://[2001:db8::1]:8000", "[2001:db8::1]:8000", None, True),
        ("https://evil.example", "seg.example", None, False),
        ("https://seg.example.evil.example", "seg.example", None, False),
        ("https://evil.example/seg.example", "seg.example", None, False),
        ("null", "seg.example", None, False),
        ("", "seg.example", None, False),
        ("", "", None, False),
        ("null", "null", None, False),
        ("https://seg.example:port", "seg.example", None, False),
        ("http://localhost:3000", "seg.example", None, False),  # a visitor's own machine
    ],
)
def test_the_servers_own_page_may(origin: str, host: str, secure: bool | None, may: bool) -> None:
    for on_loopback in (True, False):
        ours = origins(on_loopback=on_loopback)
        assert ours.allows(origin, Caller(HERE, host, secure)) is may


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:5500", True),
        ("http://[::1]:3000", True),
        ("http://app.localhost:3000", True),
        ("https://localhost", True),
        ("http://localhost.evil.example:3000", False),
        ("http://192.168.1.7:3000", False),
        ("file://", False),
        ("null", False),
        ("chrome-extension://localhost", False),
    ],
)
def test_on_loopback_pages_of_this_machine_may(origin: str, may: bool) -> None:
    here, elsewhere = Caller(HERE, "localhost:8000"), Caller(HERE, "seg.example")
    assert origins().allows(origin, here) is may
    assert not origins(on_loopback=False).allows(origin, here)
    assert not origins().allows(origin, elsewhere), "asked by way of a proxy"


@pytest.mark.parametrize(
    ("origin", "allowed", "may"),
    [
        (None, (), True),
        ("https://evil.example", ("*",), True),
        ("https://evil.example", ("https://good.example",), False),
        ("https://Good.example", ("https://good.example",), True),
        ("https://good.example", ("https://good.example:443",), True),
        ("https://good.example:8443", ("https://good.example",), False),
        ("http://good.example", ("https://good.example",), False),
        ("null", ("https://good.example",), False),
        ("null", ("null",), True),
    ],
)
def test_another_page_must_be_on_the_list(
    origin: str | None, allowed: tuple[str, ...], may: bool
) -> None:
    assert origins(*allowed).allows(origin, Caller(HERE, "localhost:8000")) is may


@pytest.mark.parametrize(
    ("host", "trusted", "known"),
    [
        ("localhost:8000", False, True),
        ("[::1]:8000", False, True),
        ("evil.example:8000", False, False),  # a name that was made to point here
        ("seg.example", True, True),
        ("", False, False),
    ],
)
def test_on_loopback_a_strange_name_is_a_proxys_or_refused(
    host: str, trusted: bool, known: bool
) -> None:
    caller = Caller(HERE, host, forwarded=trusted, trusted=trusted)
    assert origins().knows_host(caller) is known
    assert origins(on_loopback=False).knows_host(caller)


def test_where_names_are_written_down_no_other_is_known() -> None:
    ours = origins(hosts=("Seg.Example",))
    assert ours.knows_host(Caller(HERE, "seg.example:8000"))
    assert ours.knows_host(Caller(HERE, "localhost:8000"))
    assert not ours.knows_host(Caller(HERE, "evil.example", forwarded=True, trusted=True))
    public = origins(hosts=("seg.example",), on_loopback=False)
    assert public.knows_host(Caller(HERE, "seg.example:8000"))
    assert not public.knows_host(Caller(HERE, "evil.example:8000"))
    assert not public.knows_host(Caller(HERE, "localhost:8000"))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("https://a.example:8443", True),
        ("null", False),
        ("https://a.example/path", False),
        ('https://a.example"]\nset: me', False),
        ("https://" + "a" * 300, False),
        ("", False),
    ],
)
def test_only_what_a_browser_sends_is_repeated(text: str, good: bool) -> None:
    assert is_origin(text) is good
