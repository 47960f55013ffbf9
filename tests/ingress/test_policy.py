"""The group ``admission``: what would let everybody in, or nobody, is refused with a sentence."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from ingress.policy import Admission, unsafe_bind

SHA256 = hashlib.sha256(b"token").hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()
KEYS = {"algorithms": ["ES256"], "keys": [{"file": "/etc/key.pem"}]}


def token(**more: Any) -> dict[str, Any]:
    return {"principal": "ada", "sha256": SHA256, **more}


@pytest.mark.parametrize(
    "group",
    [
        {},
        {"auth": "none"},
        {"auth": "tokens", "tokens": [token()]},
        {"auth": "tokens", "tokens": [{"principal": "a@b.c", "file": "/run/secrets/a"}]},
        {"auth": "tokens", "tokens": [{"principal": "a", "env": "A_TOKEN"}]},
        {"auth": "jwt", "jwt": KEYS},
        {"auth": "jwt", "jwt": {**KEYS, "algorithms": ["RS256", "EdDSA"], "issuer": "https://i"}},
        {"hosts": ["seg.example", "[::1]"], "trusted_proxies": ["10.0.0.0/8", "::1"]},
    ],
)
def test_what_can_work_is_taken(group: dict[str, Any]) -> None:
    admission = Admission.model_validate(group)
    assert admission.wants_sign_in is (group.get("auth") in ("tokens", "jwt"))


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"auth": "tokens"}, "auth is tokens, but tokens is not given"),
        ({"auth": "jwt"}, "auth is jwt, but jwt is not given"),
        ({"tokens": [token()]}, "tokens is given, but auth is not tokens; write auth: tokens"),
        ({"auth": "none", "jwt": KEYS}, "jwt is given, but auth is not jwt"),
        ({"auth": "password"}, "'none', 'tokens' or 'jwt'"),
        ({"auth": False}, "'none', 'tokens' or 'jwt'"),
        ({"auth": "tokens", "tokens": [{"principal": "a"}]}, "exactly one of sha256, file, env"),
        ({"auth": "tokens", "tokens": [token(env="A")]}, "exactly one of"),
        ({"auth": "tokens", "tokens": [token(sha256="secret")]}, "sha256"),
        ({"auth": "tokens", "tokens": [token(sha256=EMPTY)]}, "the SHA-256 of nothing"),
        ({"auth": "tokens", "tokens": [token(), token(principal="b")]}, "two of them have one sha"),
        ({"auth": "tokens", "tokens": [token(principal="a b")]}, "principal"),
        ({"auth": "tokens", "tokens": [{"principal": "a", "file": "secret"}]}, "file"),
        ({"auth": "jwt", "jwt": {**KEYS, "algorithms": ["none"]}}, "algorithms"),
        ({"auth": "jwt", "jwt": {**KEYS, "algorithms": []}}, "algorithms"),
        ({"auth": "jwt", "jwt": {**KEYS, "algorithms": ["HS256", "RS256"]}}, "of one kind"),
        ({"auth": "jwt", "jwt": {**KEYS, "keys": []}}, "keys"),
        ({"auth": "jwt", "jwt": {**KEYS, "keys": [{"id": "a"}]}}, "exactly one of file, env"),
        ({"auth": "jwt", "jwt": {**KEYS, "leeway_s": 3600}}, "leeway_s"),
        ({"hosts": ["https://seg.example"]}, "no host name; write it without scheme and port"),
        ({"hosts": ["seg.example:8000"]}, "no host name"),
        ({"trusted_proxies": ["nginx"]}, "is no address and no network"),
        ({"metrics_addresses": ["10.0.0.1/8"]}, "is no address and no network"),
        ({"max_ungreeted": 0}, "max_ungreeted"),
        ({"sessions_per_address": 0}, "sessions_per_address"),
        ({"ticket_s": 3600}, "ticket_s"),
        ({"token": SHA256}, "token"),
    ],
)
def test_what_cannot_is_refused_in_words(group: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Admission.model_validate(group)
    assert words in str(refused.value)


@pytest.mark.parametrize("auth", ["none", "tokens", "jwt"])
def test_a_server_that_others_reach_may_start_where_it_says_who_comes_in(auth: str) -> None:
    assert unsafe_bind("0.0.0.0", auth, on_loopback=False) is None
    assert unsafe_bind("127.0.0.1", None, on_loopback=True) is None


@pytest.mark.parametrize(("host", "named"), [("0.0.0.0", "0.0.0.0"), (None, "not known")])
def test_one_that_does_not_say_it_is_told_the_line(host: str | None, named: str) -> None:
    why = unsafe_bind(host, None, on_loopback=False)
    assert why is not None
    assert f"http_options.host is {named}" in why
    assert "under ingress.admission write auth: tokens or auth: jwt, or auth: none" in why
