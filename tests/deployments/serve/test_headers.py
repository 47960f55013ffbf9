"""Serve's own headers are taken off; what cannot be read is refused, and not with a traceback."""

from __future__ import annotations

import json

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import constants
from starlette.types import Message, Receive, Scope, Send

from deployments.serve import headers
from deployments.serve.headers import StrangersHeaders

KINDS = ("http", "websocket")
OURS = [(b"host", b"test"), (b"cookie", b"\xff"), (b"x-request-idea", b"kept")]


async def receive() -> Message:
    return {}


async def passed(kind: str, *said: tuple[bytes, bytes]) -> tuple[list[Scope], list[Message]]:
    """The scopes that the app saw, and what the client was sent."""
    scopes: list[Scope] = []
    sent: list[Message] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": kind, "headers": [OURS[0], *said, *OURS[1:]]}
    await StrangersHeaders(inner)(scope, receive, send)
    return scopes, sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "x-request-id",
        "x-request-timeout-seconds",
        "x-request-disconnect-disabled",
        "X-Session-Id",
        "x_session_id",
        "serve_multiplexed_model_id",
        "serve-multiplexed-model-id",
        "x-serve-router-replica",
    ],
)
async def test_what_serve_would_obey_is_taken_off(kind: str, name: str) -> None:
    (scope,), sent = await passed(kind, (name.encode(), b"1"), (name.encode(), b"2"))
    assert scope["headers"] == OURS
    assert not sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x-request-id", "traceparent", "x-session-id"])
async def test_what_serve_could_not_read_is_refused_in_words(kind: str, name: str) -> None:
    scopes, (start, body) = await passed(kind, (name.encode(), b"\xff"))
    assert not scopes
    assert start["status"] == 400
    assert start["type"].startswith("websocket.http." if kind == "websocket" else "http.")
    said = json.loads(body["body"])["error"]
    assert said["code"] == "BAD_MESSAGE"
    assert said["message"].startswith(f"the value of the header {name} is not UTF-8; leave")


@pytest.mark.parametrize("kind", KINDS)
async def test_tracing_passes(kind: str) -> None:
    traced = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    (scope,), _ = await passed(kind, traced)
    assert scope["headers"] == [OURS[0], traced, *OURS[1:]]


async def test_a_session_id_of_another_name_is_taken_off_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(headers.SESSION_ID_VARIABLE, "X_Sticky")
    (scope,), _ = await passed("http", (b"x-sticky", b"1"))
    assert scope["headers"] == OURS


async def test_a_lifespan_has_no_headers() -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def send(message: Message) -> None: ...

    await StrangersHeaders(inner)({"type": "lifespan"}, receive, send)
    assert seen == [{"type": "lifespan"}]


def test_these_are_the_headers_that_serve_reads() -> None:
    named = (
        constants.SERVE_HTTP_REQUEST_ID_HEADER,
        constants.SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
        constants.SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
        constants.SERVE_MULTIPLEXED_MODEL_ID,
    )
    assert {name.replace("_", "-").encode() for name in named} == headers.TAKEN_OFF
    assert constants.SERVE_INGRESS_ROUTER_HEADER_PREFIX.encode() == headers.TAKEN_OFF_PREFIX
    assert constants.SERVE_SESSION_ID == headers.SESSION_ID
    known = {name for name in vars(constants) if "HEADER" in name and name.startswith("SERVE_")}
    assert known == {
        "SERVE_HTTP_REQUEST_ID_HEADER",
        "SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER",
        "SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER",
        "SERVE_INGRESS_ROUTER_HEADER_PREFIX",
    }, "Serve has a header that is new"
