"""Who signs in: with a token that is known by its hash, or one that is signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ingress.admission.principals import Jwts, Key, Principal, Tokens, bearer, is_operator
from ingress.admission.refusal import Refused
from ingress.policy import Jwt

GOOD, OTHER = "g" * 32, "o" * 32
SECRET = b"s" * 64
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def refused(check: Any, token: str) -> str:
    with pytest.raises(Refused) as caught:
        check.principal(token)
    assert token == "" or token not in f"{caught.value!r} {caught.value.words}"
    return caught.value.refusal.name


# ------------------------------------------------------------------ tokens


def test_a_token_is_known_by_its_hash() -> None:
    tokens = Tokens([(sha256(OTHER), "lab"), (sha256(GOOD), "camera-1")])
    assert tokens.principal(GOOD) == Principal("camera-1")
    assert tokens.principal(OTHER) == Principal("lab")
    for wrong in ("", "x", GOOD[:-1], GOOD + "g", sha256(GOOD), "\u20ac", "\ud800"):
        assert refused(tokens, wrong) == "token_wrong"


def test_every_hash_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    real = hmac.compare_digest

    def compare(given: str, known: str) -> bool:
        compared.append(known)
        return real(given, known)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    known = [(sha256(GOOD), "a"), (sha256(OTHER), "b"), (sha256("third"), "c")]
    Tokens(known).principal(GOOD)
    assert compared == [hashed for hashed, _ in known], "the first that fits ends nothing"


# ------------------------------------------------------------------ JSON Web Tokens


def claims(**more: Any) -> dict[str, Any]:
    given = {"sub": "ada", "exp": time.time() + 60, "iss": "https://idp", "aud": "seg", **more}
    return {name: value for name, value in given.items() if value is not None}


def signed(algorithm: str = "HS256", key: Any = None, kid: str | None = None, **more: Any) -> str:
    key = key or PRIVATE.get(algorithm, SECRET)
    return jwt.encode(claims(**more), key, algorithm, {"kid": kid} if kid else None)


def jwts(*algorithms: str, keys: list[Key] | None = None, **more: Any) -> Jwts:
    given = {
        "algorithms": algorithms or ("HS256",), "keys": [{"env": "KEY"}],
        "issuer": "https://idp", "audience": "seg", "leeway_s": 2, **more,
    }  # fmt: skip
    own = PRIVATE.get(algorithms[0]) if algorithms else None
    return Jwts(Jwt.model_validate(given), keys or [Key(None, own.public_key() if own else SECRET)])


@pytest.mark.parametrize("algorithm", ["HS256", "HS512", "RS256", "ES256", "ES384", "EdDSA"])
def test_a_signed_token_says_who_it_is_and_until_when(algorithm: str) -> None:
    principal = jwts(algorithm).principal(signed(algorithm))
    assert principal.name == "ada"
    assert principal.expires_at is not None
    assert 55 < principal.expires_at - time.time() < 65, "with its leeway"


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"exp": 1}, "token_expired"),
        ({"exp": None}, "token_wrong"),
        ({"sub": None}, "token_wrong"),
        ({"sub": ""}, "token_wrong"),
        ({"sub": 7}, "token_wrong"),
        ({"sub": "x" * 257}, "token_wrong"),
        ({"iss": "https://another"}, "token_wrong"),
        ({"iss": None}, "token_wrong"),
        ({"aud": "another"}, "token_wrong"),
        ({"aud": None}, "token_wrong"),
        ({"nbf": 10**10}, "token_wrong"),
        ({"exp": "tomorrow"}, "token_wrong"),
        ({"exp": 10**400}, "token_wrong"),
    ],
)
def test_a_claim_that_is_not_as_it_must_be_is_refused(changed: dict[str, Any], name: str) -> None:
    if changed.get("sub") == 7 or isinstance(changed.get("exp"), str | int):
        token = jwt.api_jws.encode(_json(claims(**changed)), SECRET, "HS256")
    else:
        token = signed(**changed)
    assert refused(jwts(), token) == name


def _json(payload: dict[str, Any]) -> bytes:

    return json.dumps(payload).encode()


def test_within_the_leeway_a_token_still_lives() -> None:
    token = signed(exp=time.time() - 1)
    assert jwts(leeway_s=30).principal(token).name == "ada"
    assert refused(jwts(leeway_s=0), token) == "token_expired"


def test_the_token_does_not_choose_its_algorithm() -> None:
    unsigned = jwt.encode(claims(), None, "none")  # type: ignore[arg-type]
    assert refused(jwts(), unsigned) == "token_wrong"
    assert refused(jwts("HS512"), signed("HS256")) == "token_wrong"
    assert refused(jwts("RS256"), signed("HS256")) == "token_wrong"
    public = PRIVATE["RS256"].public_key()
    assert refused(jwts("RS256", keys=[Key(None, public)]), signed("ES256")) == "token_wrong"


@pytest.mark.parametrize("rubbish", ["", ".", "..", "a.b.c", "e30.e30.", "x" * 4096, "\u20ac.x.x"])
def test_what_is_no_token_is_wrong(rubbish: str) -> None:
    assert refused(jwts(), rubbish) == "token_wrong"


def test_keys_are_chosen_by_kid_and_old_ones_serve_until_they_are_taken_away() -> None:
    keys = [Key("new", b"n" * 32), Key("old", b"o" * 32)]
    assert jwts(keys=keys).principal(signed(key=b"o" * 32, kid="old")).name == "ada"
    assert refused(jwts(keys=keys), signed(key=b"o" * 32, kid="new")) == "token_wrong"
    assert refused(jwts(keys=keys[:1]), signed(key=b"o" * 32, kid="old")) == "token_wrong"
    any_of_them = [Key(None, b"n" * 32), Key(None, b"o" * 32)]
    assert jwts(keys=any_of_them).principal(signed(key=b"o" * 32)).name == "ada"
    expired = signed(key=b"o" * 32, exp=time.time() - 60)
    assert refused(jwts(keys=[*any_of_them, Key(None, b"z" * 32)]), expired) == "token_expired"


def test_another_claim_may_say_who_it_is() -> None:
    assert (
        jwts(principal_claim="email").principal(signed(email="a@b.example")).name == "a@b.example"
    )
    assert refused(jwts(principal_claim="email"), signed()) == "token_wrong"


def test_a_key_does_not_show_itself() -> None:
    assert "ssss" not in repr(Key("a", SECRET))


# ------------------------------------------------------------------ headers


@pytest.mark.parametrize(
    ("header", "token"),
    [(None, None), ("Bearer abc", "abc"), ("bearer  abc ", "abc")],
)
def test_a_header_brings_a_token(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "abc"])
def test_a_header_without_a_token_is_refused(header: str) -> None:
    with pytest.raises(Refused) as caught:
        bearer(header)
    assert caught.value.refusal.name == "token_missing"


def test_an_endless_token_is_not_looked_at() -> None:
    with pytest.raises(Refused) as caught:
        bearer("Bearer " + "x" * 4097)
    assert caught.value.refusal.name == "token_wrong"


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
    assert is_operator(authorization, sha256("opensesame")) is may
    assert not is_operator(authorization, None)
