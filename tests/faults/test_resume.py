"""Sessions that lose their connection and come back, on both of Serve's proxies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.books import Books, wait_until
from tests.faults.raw_client import RawClient, Seen
from tests.integration.returning_client import lose_and_return
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

CLIENTS, CUTS = 4, 10


async def test_sessions_that_are_cut_anywhere_lose_nothing(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    kinds = ("update_viz", "change_mode")  # statistics are planted with a bug here
    crowd = await lose_and_return(app.ws, picture, clients=CLIENTS, cuts=CUTS, seed=20, kinds=kinds)
    assert sum(client.resumes for client in crowd) > CLIENTS * CUTS / 2
    assert all(client.replies for client in crowd)
    wait_until(lambda: len(books.lines()) == CLIENTS * (CUTS + 1), "one line per connection")
    Books(app)  # all are accounted for
    books.no_stumble()


def hello(welcome: dict[str, Any]) -> dict[str, Any]:
    resume = {"session": welcome["session"], "token": welcome["resume_token"]}
    return {"type": "hello", "resume": {**resume, "last_seq": 0, "last_control": 0}}


def test_a_newer_connection_replaces_the_older(app: ServeApp, books: Books) -> None:
    with RawClient(app.port, "v1") as older, RawClient(app.port, "v1", greet=False) as newer:
        newer.say(hello(older.welcome))
        assert newer.next_message()["resumed"] is True
        messages, seen = older.live()
        assert messages[-1] == {
            "type": "bye", "reason": "replaced", "retry_ms": [500, 30000], "resume": False,
        }  # fmt: skip
        assert seen == Seen(4002, "a newer connection took the session over")
        newer.close(1000)
        assert newer.end().code == 1000
    wait_until(lambda: len(books.lines()) == 2, "one line each")
    reasons = [line.split(" ended: ")[1].split()[0] for line in books.lines()]
    assert reasons == ["replaced", "client_close"]
    books.no_stumble()


def test_a_token_that_is_not_right_gives_a_new_session(app: ServeApp, books: Books) -> None:
    with RawClient(app.port, "v1") as lost:
        lost.rst()
    books.one("connection_lost", 1005, 1006)
    with RawClient(app.port, "v1", greet=False) as stranger:
        stranger.say(hello({**lost.welcome, "resume_token": "guessed"}))
        welcome = stranger.next_message()
    assert welcome["resumed"] is False
    assert welcome["why"] == "the session is not there any more; a new one was started"
    assert welcome["session"] != lost.welcome["session"]
