"""Secrets are read where the yaml says they are, and never shown."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deployments.credentials import NoCredentials, authentication
from ingress.admission.principals import Authentication
from ingress.policy import Admission

TOKEN, SECRET = "t" * 32, "s" * 64
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PEM = PRIVATE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
PRIVATE_PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


def tokens(**place: Any) -> Admission:
    return Admission.model_validate({"auth": "tokens", "tokens": [{"principal": "ada", **place}]})


def jwts(algorithm: str = "ES256", **place: Any) -> Admission:
    return Admission.model_validate(
        {"auth": "jwt", "jwt": {"algorithms": [algorithm], "keys": [place]}}
    )


def signing(admission: Admission, **environ: str) -> Authentication:
    found = authentication(admission, environ)
    assert found is not None
    return found


def test_nobody_is_asked_unless_it_is_written() -> None:
    assert authentication(Admission(), {}) is None
    assert authentication(Admission(auth="none"), {}) is None


def test_a_token_is_a_hash_a_file_or_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for found in (
        signing(tokens(sha256=hashlib.sha256(TOKEN.encode()).hexdigest())),
        signing(tokens(file=str(file))),
        signing(tokens(env="ADA"), ADA=TOKEN),
    ):
        assert found.principal(TOKEN).name == "ada"


def test_a_key_is_a_secret_or_a_public_key(tmp_path: Path) -> None:
    claims = {"sub": "ada", "exp": time.time() + 60}
    file = tmp_path / "key.pem"
    file.write_bytes(PEM)
    pinned = hashlib.sha256(PEM.strip()).hexdigest()
    found = signing(jwts(file=str(file), sha256=pinned))
    assert found.principal(jwt.encode(claims, PRIVATE, "ES256")).name == "ada"
    found = signing(jwts("HS512", env="KEY"), KEY=SECRET)
    assert found.principal(jwt.encode(claims, SECRET, "HS512")).name == "ada"


@pytest.mark.parametrize(
    ("admission", "environ", "words"),
    [
        (tokens(env="ADA"), {}, "the variable ADA is empty"),
        (tokens(env="ADA"), {"ADA": " "}, "the variable ADA is empty"),
        (tokens(env="ADA"), {"ADA": "short-token"}, "fewer than 20 letters"),
        (tokens(file="/nowhere/token"), {}, "the file /nowhere/token cannot be read"),
        (jwts("HS256", env="KEY"), {"KEY": "xyzzy"}, "too short a secret: at least 32 bytes"),
        (jwts(env="KEY"), {"KEY": SECRET}, "is no public key in PEM"),
        (jwts(env="KEY"), {"KEY": PRIVATE_PEM.decode()}, "is no public key in PEM"),
        (jwts(env="KEY", sha256="0" * 64), {"KEY": PEM.decode()}, "has another sha256"),
    ],
)
def test_what_is_no_secret_is_named_by_its_place_alone(
    admission: Admission, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(NoCredentials) as refused:
        authentication(admission, environ)
    assert words in str(refused.value)
    assert "ingress.admission" in str(refused.value)
    for secret in environ.values():
        assert not secret.strip() or secret not in f"{refused.value!r}"
