"""What clients sign in with, read where the yaml says it is: files and variables of the replica.

A secret that cannot be read, or is none, is refused with a sentence that names its place and never
itself. An ingress replica that cannot check anybody does not start.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ingress.admission.principals import Authentication, Jwts, Key, Tokens
from ingress.policy import SHARED_SECRET, AccessToken, Admission, JwtKey, Secret

_MIN_TOKEN, _MIN_SECRET_BYTES = 20, 32
_PLACE = "ingress.admission"


class NoCredentials(Exception):
    """What clients would sign in with is not to be had; the words say where it should be."""


def authentication(
    admission: Admission, environ: Mapping[str, str] = os.environ
) -> Authentication | None:
    """How clients sign in; None: nobody has to.

    Raises:
        NoCredentials: a secret is missing, or cannot be one.
    """
    if admission.auth == "tokens":
        return Tokens([(_hash_of(token, environ), token.principal) for token in admission.tokens])
    if admission.auth == "jwt" and admission.jwt is not None:
        shared = admission.jwt.algorithms[0] in SHARED_SECRET
        keys = [_key(key, environ, shared=shared) for key in admission.jwt.keys]
        return Jwts(admission.jwt, keys)
    return None


def _hash_of(token: AccessToken, environ: Mapping[str, str]) -> str:
    if token.sha256 is not None:
        return token.sha256
    text, place = _read(token, environ, f"tokens, {token.principal}")
    if len(text) < _MIN_TOKEN:
        raise NoCredentials(f"{place} is no token: it has fewer than {_MIN_TOKEN} letters")
    return hashlib.sha256(text).hexdigest()


def _key(key: JwtKey, environ: Mapping[str, str], *, shared: bool) -> Key:
    text, place = _read(key, environ, "jwt.keys")
    found = hashlib.sha256(text).hexdigest()
    if key.sha256 is not None and not hmac.compare_digest(found, key.sha256):
        raise NoCredentials(f"{place} has another sha256 than the one that is written down")
    return Key(key.id, _secret(text, place) if shared else _public(text, place))


def _secret(text: bytes, place: str) -> bytes:
    if len(text) < _MIN_SECRET_BYTES:
        raise NoCredentials(f"{place} is too short a secret: at least {_MIN_SECRET_BYTES} bytes")
    return text


def _public(text: bytes, place: str) -> Any:
    try:
        return load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise NoCredentials(f"{place} is no public key in PEM") from None


def _read(secret: Secret, environ: Mapping[str, str], what: str) -> tuple[bytes, str]:
    """The bytes of a secret without white space around them, and the words for its place."""
    if secret.env is not None:
        place = f"{_PLACE}.{what}: the variable {secret.env}"
        text = environ.get(secret.env, "").encode()
    else:
        place = f"{_PLACE}.{what}: the file {secret.file}"
        try:
            text = Path(secret.file or "").read_bytes()
        except OSError as error:
            raise NoCredentials(f"{place} cannot be read ({error.strerror})") from None
    if not text.strip():
        raise NoCredentials(f"{place} is empty, where the ingress replica looks for it")
    return text.strip(), place
