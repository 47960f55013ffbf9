"""Where a request comes from, and whom that is believed of."""

from __future__ import annotations

import pytest

from ingress.admission.addresses import (
    PEER_HEADER,
    Addresses,
    Caller,
    is_loopback,
    names_loopback,
    parsed,
)

FOR = "x-forwarded-for"


def caller(peer: str | None, *trusted: str, scheme: str = "http", **headers: str) -> Caller:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Addresses(trusted).caller(peer, named, scheme)


def address(peer: str | None, hops: str, *trusted: str) -> str:
    return str(caller(peer, *trusted, x_forwarded_for=hops).address)


@pytest.mark.parametrize(
    ("peer", "hops", "trusted", "found"),
    [
        ("203.0.113.5", "", (), "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", (), "203.0.113.5"),  # nobody trusts it
        ("127.0.0.1", "198.51.100.1", (), "198.51.100.1"),
        ("::1", "198.51.100.1", (), "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", (), "198.51.100.1"),  # the left one is made up
        ("10.0.0.9", "6.6.6.6, 198.51.100.1, 10.0.0.8", ("10.0.0.0/8",), "198.51.100.1"),
        ("10.0.0.9", "6.6.6.6, 198.51.100.1, 10.0.0.8", (), "10.0.0.9"),
        ("10.0.0.9", "10.0.0.7, 10.0.0.8", ("10.0.0.0/8",), "10.0.0.7"),
        ("127.0.0.1", "198.51.100.1:4711", (), "198.51.100.1"),
        ("127.0.0.1", "[2001:db8::7]:4711", (), "2001:db8::7"),
        ("127.0.0.1", "rubbish", (), "127.0.0.1"),
        ("127.0.0.1", "6.6.6.6, rubbish", (), "127.0.0.1"),
        ("::ffff:198.51.100.1", "", (), "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, " * 4000 + "198.51.100.1", (), "198.51.100.1"),
        (None, "198.51.100.1", (), "None"),
        ("testclient", "198.51.100.1", (), "None"),
    ],
)
def test_the_address_is_the_rightmost_that_nobody_vouches_for(
    peer: str | None, hops: str, trusted: tuple[str, ...], found: str
) -> None:
    assert address(peer, hops, *trusted) == found


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:0:1::5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::9", "2001:db8:0:1::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        (None, None),
    ],
)
def test_quotas_count_by_address_or_by_network_and_not_this_machine(
    peer: str | None, key: str | None
) -> None:
    assert caller(peer).key == key


def test_host_and_scheme_are_the_proxys_word_where_it_is_trusted() -> None:
    headers = {
        "host": "inner:8000",
        "x_forwarded_host": "Seg.Example",
        "x_forwarded_proto": "https",
    }
    seen = caller("127.0.0.1", **headers)
    assert (seen.host, seen.secure, seen.trusted) == ("seg.example", True, True)
    seen = caller("198.51.100.1", **headers)
    assert (seen.host, seen.secure, seen.trusted, seen.forwarded) == (
        "inner:8000", None, False, True,
    )  # fmt: skip
    assert caller("198.51.100.1", scheme="wss", host="a").secure is True


def test_only_who_asks_without_a_proxy_is_local() -> None:
    assert caller("127.0.0.1", host="localhost:8000").is_local
    assert not caller("127.0.0.1", host="localhost:8000", x_forwarded_proto="http").is_local
    assert not caller("127.0.0.1", host="evil.example:8000").is_local
    assert not caller("198.51.100.1", host="localhost:8000").is_local


class Haproxy:
    """Behind HAProxy, which names peers once ``named``."""

    named = True

    def caller(self, peer: str, **headers: str) -> Caller:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Addresses((), lambda: self.named).caller(peer, named, "http")


def test_behind_haproxy_the_peer_is_the_one_that_it_names() -> None:
    haproxy = Haproxy()
    assert PEER_HEADER == "x-segstream-peer"
    spoofed = {"x_forwarded_for": "127.0.0.1"}
    seen = haproxy.caller("127.0.0.1", x_segstream_peer="198.51.100.1", **spoofed)
    assert str(seen.address) == "198.51.100.1"
    seen = haproxy.caller("127.0.0.1", x_segstream_peer="127.0.0.1", x_forwarded_for="6.6.6.6")
    assert str(seen.address) == "6.6.6.6", "a proxy of this machine before HAProxy"
    seen = haproxy.caller("198.51.100.9", x_segstream_peer="127.0.0.1")
    assert str(seen.address) == "198.51.100.9", "who came past HAProxy names nobody"


def test_until_haproxy_names_peers_nobodys_address_is_known() -> None:
    haproxy = Haproxy()
    haproxy.named = False
    seen = haproxy.caller("127.0.0.1", x_segstream_peer="6.6.6.6", x_forwarded_for="6.6.6.6")
    assert (seen.address, seen.trusted, seen.key) == (None, False, None)
    assert haproxy.caller("127.0.0.1", host="127.0.0.1:8000").is_local


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.7", False), ("example.org", False),
        ("localhost.example.org", False), ("", False), (None, False),
    ],
)  # fmt: skip
def test_what_is_listened_on_is_loopback_or_reached_by_others(
    host: str | None, loopback: bool
) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost:8000", True), ("app.localhost:8000", True), ("[::1]:8000", True),
        ("127.0.0.1", True), ("127.0.0.1.evil.example", False), ("localhost.evil.example", False),
        ("evil.example:8000", False), ("", False), ("[", False),
    ],
)  # fmt: skip
def test_a_name_of_loopback_is_no_part_of_another(host: str, loopback: bool) -> None:
    assert names_loopback(host) is loopback


@pytest.mark.parametrize("text", ["", "unknown", "_hidden", "1.2.3", "[::1", "1.2.3.4.5", "a:b:c"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert text == "[::1" or parsed(text) is None
