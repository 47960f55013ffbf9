"""Who may come in, and how many: the group ``admission`` of the yaml.

No secret stands in the yaml, which Ray's dashboard shows: of a token its SHA-256, of a token or a
key that is kept elsewhere the file or the variable of the environment where the replica finds it.

What cannot work, or would let everybody in by mistake, is refused here with a sentence.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from ingress.group import Settings

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", re.IGNORECASE).fullmatch
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", re.IGNORECASE).fullmatch
_HASHES_OF_NOTHING = frozenset(hashlib.sha256(nothing).hexdigest() for nothing in (b"", b"\n"))

SHARED_SECRET = ("HS256", "HS384", "HS512")
KEY_PAIR = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _of_something(sha256: str) -> str:
    if sha256 in _HASHES_OF_NOTHING:
        raise ValueError(
            "the SHA-256 of nothing, which lets everybody in; hash a token that is not empty"
        )
    return sha256


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            f'"{text}" is no address and no network; write "10.0.0.7" or "10.0.0.0/8"'
        ) from None
    return text


Network = Annotated[str, AfterValidator(_network)]
TokenSha256 = Annotated[Sha256, AfterValidator(_of_something)]


class Secret(Settings):
    """Where the replica finds a secret: in a file, or in a variable of its environment."""

    file: str | None = Field(None, pattern="^/", description="An absolute path.")
    env: str | None = Field(None, pattern="^[A-Za-z_][A-Za-z0-9_]*$")


class AccessToken(Secret):
    """A token that lets in, and who comes in with it."""

    principal: Name = Field(description="Who it is: for quotas, and for whose a session is.")
    sha256: TokenSha256 | None = Field(None, description="Of the token; it has 20 letters or more.")

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        _exactly_one(sha256=self.sha256, file=self.file, env=self.env)
        return self


class JwtKey(Secret):
    """A key that tokens are checked with: a shared secret, or a public key in PEM."""

    id: str | None = Field(None, description='The "kid" of the tokens that it is for; null: any.')
    sha256: Sha256 | None = Field(None, description="Of the key's bytes, which it must then have.")

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        _exactly_one(file=self.file, env=self.env)
        return self


class Jwt(Settings):
    """How JSON Web Tokens are checked (RFC 7519, RFC 8725); they must expire."""

    algorithms: tuple[Algorithm, ...] = Field(min_length=1, description="No other is accepted.")
    keys: tuple[JwtKey, ...] = Field(min_length=1, max_length=8)
    issuer: str | None = Field(None, description='What "iss" must be; null: not looked at.')
    audience: str | None = Field(None, description='What "aud" must name; null: it names nobody.')
    leeway_s: float = Field(5.0, ge=0, le=300, description="For clocks that differ.")
    principal_claim: str = Field("sub", description="The claim that says who it is.")

    @field_validator("algorithms")
    @classmethod
    def _of_one_kind(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        if len({algorithm in SHARED_SECRET for algorithm in algorithms}) > 1:
            raise ValueError(
                "HS algorithms share a secret, the others have a key pair; a public key must never "
                "serve as a secret, so name algorithms of one kind"
            )
        return algorithms


class Admission(Settings):
    """Who may come in, and how many; every number is of one ingress replica."""

    max_sessions: int = Field(
        256,
        ge=1,
        le=16_384,
        description=(
            "Then close 1013. One process can hold no more: each is a socket, and between a proxy "
            "and a replica there are 28,000 ports."
        ),
    )
    returning_sessions: int = Field(
        32, ge=0, le=16_384, description="Places beyond max_sessions, for sessions that come back."
    )
    max_ungreeted: int = Field(
        256, ge=1, le=16_384, description="Sockets before their welcome; then HTTP 503."
    )
    ungreeted_grace_s: float = Field(
        1.0,
        ge=0,
        le=600,
        description="To say hello in; after it the oldest of them gives way (1013) to the next "
        "where all places are taken.",
    )
    ungreeted_per_address: int = Field(16, ge=1, description="The same of one address: HTTP 429.")
    sessions_per_address: int = Field(
        64, ge=1, description="Of one address, or one IPv6 /64; then HTTP 429. Loopback is free."
    )
    sessions_per_principal: int = Field(64, ge=1, description="Then close 1013.")
    allowed_origins: tuple[str, ...] = Field(
        (),
        description=(
            'Pages that may come in beside this server\'s own, as "https://host:port"; "*" is '
            "every page. While the server listens on loopback, pages of this machine's loopback "
            "may, too. Programs send no Origin and are not affected."
        ),
    )
    hosts: tuple[str, ...] = Field(
        (),
        description=(
            "Names by which the server may be asked, its own or those of a reverse proxy; on "
            "loopback, loopback's as well. Where none is written: on loopback its own names, and "
            "what a proxy of this machine marks as forwarded; else every name."
        ),
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="Whose X-Forwarded-For, -Host and -Proto are believed, beside loopback's."
    )
    auth: Literal["none", "tokens", "jwt"] | None = Field(
        None,
        description=(
            "How clients sign in. Not written is none, on loopback alone: a server that others can "
            "reach starts only where this is written, be it none."
        ),
    )
    tokens: tuple[AccessToken, ...] = Field((), description="With auth: tokens.")
    jwt: Jwt | None = Field(None, description="With auth: jwt.")
    ticket_s: float = Field(30.0, gt=0, le=300, description="How long a ticket may be redeemed.")
    tickets_per_principal: int = Field(64, ge=1, le=4096, description="Unredeemed; oldest leave.")
    operator_token_sha256: TokenSha256 | None = Field(
        None,
        description="Of the bearer token that GET /api/sessions wants, and /metrics where others "
        "can reach it; null answers nobody.",
    )
    metrics_addresses: tuple[Network, ...] = Field(
        (), description="Who may read /metrics without the operator's token."
    )

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin not in ("*", "null") and not _ORIGIN(origin):
                raise ValueError(
                    f'"{origin}" is no origin that a browser sends; write "https://host" or '
                    '"https://host:port", without a path or a slash at its end, or "*"'
                )
        return origins

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST(host):
                raise ValueError(f'"{host}" is no host name; write it without scheme and port')
        return hosts

    @model_validator(mode="after")
    def _auth_has_what_it_needs(self) -> Self:
        given = {"tokens": bool(self.tokens), "jwt": self.jwt is not None}
        for kind, there in given.items():
            if there and self.auth != kind:
                raise ValueError(f"{kind} is given, but auth is not {kind}; write auth: {kind}")
            if self.auth == kind and not there:
                raise ValueError(f"auth is {kind}, but {kind} is not given")
        hashes = [token.sha256 for token in self.tokens if token.sha256]
        if len(set(hashes)) < len(hashes):
            raise ValueError("tokens: two of them have one sha256; give each its own token")
        return self

    @property
    def wants_sign_in(self) -> bool:
        """Whether clients must say who they are."""
        return self.auth in ("tokens", "jwt")


def unsafe_bind(host: str | None, auth: str | None, *, on_loopback: bool) -> str | None:
    """Why a server that listens on ``host`` must not start; None where it may.

    Others can reach it, so the operator has to have said how they sign in, or that they do not.
    """
    if on_loopback or auth is not None:
        return None
    return (
        f"http_options.host is {host or 'not known'}, which others can reach, and nobody is asked "
        "to sign in; under ingress.admission write auth: tokens or auth: jwt, or auth: none if "
        "everybody may come in, or listen on 127.0.0.1"
    )


def _exactly_one(**places: str | None) -> None:
    given = [name for name, value in places.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of {_listed(places)} says where it is")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
