"""Two thousand connections that come and go with random faults, with and without `make run`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.books import Books
from tests.faults.fault_app import BARE, MAKE_RUN, fault_app
from tests.faults.fault_proxy import FaultProxy
from tests.faults.raw_client import TEXT, ConnectionEnded, RawClient
from tests.integration.pictures import astronaut, jpeg
from tests.serve_app import ServeApp

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

CONNECTIONS, AT_ONCE = 2000, 12
WORDS = ("Traceback", "Error")
PICTURE = jpeg(astronaut()[::4, ::4])


@pytest.fixture(scope="module", params=(*MAKE_RUN, BARE))
def app(request: pytest.FixtureRequest) -> Iterator[ServeApp]:
    with fault_app(request.param) as running:
        yield running


def say_nothing(client: RawClient) -> None:
    """As a client that was opened ahead of need."""


def stream(client: RawClient) -> None:
    for _ in range(3):
        client.frame(PICTURE)


def converse(client: RawClient) -> None:
    client.frame(PICTURE)
    client.say({"type": "update_viz", "settings": {"output": "mask"}})
    client.next_message()


def switch_mode(client: RawClient) -> None:
    client.frame(PICTURE)
    client.say({"type": "change_mode", "model_mode": "person-wide"})


def talk_nonsense(client: RawClient) -> None:
    client.send(TEXT, b"nonsense")


def close_and_wait(client: RawClient) -> None:
    client.close(1000)
    client.end()


TALKS = (say_nothing, stream, converse, switch_mode, talk_nonsense)
LEAVES: dict[str, Callable[[RawClient], None]] = {
    "1000": lambda client: client.close(1000),
    "1001": lambda client: client.close(1001),
    "4321": lambda client: client.close(4321, "own reasons"),
    "empty": lambda client: client.close(),
    "closed and waited": close_and_wait,
    "fin": RawClient.fin,
    "rst": RawClient.rst,
    "half a frame": lambda client: client.put(b"\x82\xfe\x10\x00\x11\x22\x33\x44half"),
    "unmasked": lambda client: client.send(TEXT, b"{}", masked=False),
    "not UTF-8": lambda client: client.send(TEXT, b"\xff\xfe"),
}


def one_life(app: ServeApp, seed: int) -> str:
    """One connection, whose end is drawn at random; returns what was drawn."""
    rng = random.Random(seed)
    talk, leave = rng.choice(TALKS), rng.choice(list(LEAVES))
    with RawClient(app.port, rng.choice(("plain", "v1"))) as client:
        try:
            talk(client)
            LEAVES[leave](client)
        except (ConnectionEnded, ConnectionError):
            return "ended before"
    return leave


def into_a_black_hole(app: ServeApp, seed: int) -> str:
    """A connection whose peer is never heard of again."""
    with FaultProxy(app.port) as way, RawClient(way.port, ("plain", "v1")[seed % 2]) as client:
        client.frame(PICTURE)
        way.blackhole()
        try:
            client.read(patience_s=5)
        except (ConnectionEnded, ConnectionError, TimeoutError):
            return "black hole"
        return "black hole, with an answer on its way"


def count(app: ServeApp, word: str) -> int:
    """Lines that have it, in all that any process of the server wrote."""
    return sum(word in line for line in app.log().splitlines())


def test_two_thousand_connections_cost_one_line_each_and_nothing_else(
    app: ServeApp, record_property: Callable[[str, object], None]
) -> None:
    books = Books(app)
    words = {word: count(app, word) for word in WORDS}
    accepted = app.metric("segstream_ws_connections_total")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        lives = [
            pool.submit(into_a_black_hole if seed % 50 == 0 else one_life, app, seed)
            for seed in range(CONNECTIONS)
        ]
        drawn = Counter(life.result() for life in lives)
    record_property("drawn", dict(drawn))
    settled = Books(app)  # nothing open, nothing under way, accepted = ended
    assert app.metric("segstream_ws_connections_total") - accepted == CONNECTIONS
    ended = app.metric("segstream_ws_disconnects_total")
    record_property("balance", app.metric("segstream_ws_connections_total") - ended)
    record_property("lines_per_disconnect", len(books.lines()) / CONNECTIONS)
    assert len(books.lines()) == CONNECTIONS
    assert not settled.lines()
    for word, before in words.items():
        record_property(f"lines_with_{word}", count(app, word) - before)
        assert count(app, word) == before
    assert app.metric("segstream_unhandled_exceptions_total") == 0
    books.no_stumble()
