"""Processes of the server that are killed, and what clients and the accounts see of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Thread

import psutil
import pytest

from tests.faults.books import Books, wait_until
from tests.faults.fault_app import BARE, DEPLOYED, HEARTBEAT_S
from tests.faults.raw_client import ConnectionEnded, RawClient, Seen
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

RESTART_S = 90.0
# A call is put to the new replica, or passes its deadline; frames behind it grow old.
TEMPORARY = {
    "mode_unavailable", "superseded", "stale", "no_credit", "INFERENCE_FAILED", "FRAME_DROPPED"
}  # fmt: skip


def answers(app: ServeApp, picture: bytes) -> bool:
    """Whether a new client gets a result."""
    with (
        suppress(ConnectionEnded, ConnectionError, TimeoutError, AssertionError),
        RawClient(app.port, "plain") as client,
    ):
        client.frame(picture)
        while (kind := client.next_message()["type"]) not in ("segmentation", "error"):
            pass
        client.close(1000)
        client.end()
        return kind == "segmentation"
    return False


def killed(*processes: psutil.Process) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


def ride_out(client: RawClient, picture: bytes, begun: Event, dead: Event) -> set[str]:
    """Stream through the death of the segmenter until a new frame is answered.

    Returns what became of the frames between: causes of drops, codes of errors.
    """
    refusals: set[str] = set()
    replaced_at = 0
    over = Event()
    sender = Thread(target=pace, args=(client, picture, over))
    sender.start()
    try:
        while True:
            match client.next_message():
                case {"type": "result" | "segmentation"} as result:
                    seq = int(str(result.get("frame_seq") or result.get("timestamp")))
                    client.ack = max(client.ack, int(str(result.get("seq") or 0)))
                    begun.set()
                    if dead.is_set():
                        replaced_at = replaced_at or client.seq + 1
                        if seq >= replaced_at:
                            return refusals
                case {"type": "error" | "dropped"} as refusal if dead.is_set():
                    refusals.add(str(refusal.get("cause") or refusal.get("code")))
                case {"type": "ping"}:
                    client.pong()
    finally:
        over.set()
        sender.join(RESTART_S)


def pace(client: RawClient, picture: bytes, over: Event) -> None:
    """Four frames in a second, whatever is answered."""
    while not over.wait(0.25):
        client.frame(picture)


def test_a_segmenter_that_dies_in_mid_frame_costs_frames_not_connections(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    streams, dead = (Event(), Event()), Event()
    said = app.said().count("Traceback")
    with (
        RawClient(app.port, "plain") as plain,
        RawClient(app.port, "v1") as v1,
        ThreadPoolExecutor() as riders,
    ):
        clients = zip((plain, v1), streams, strict=True)
        rides = [riders.submit(ride_out, client, picture, begun, dead) for client, begun in clients]
        assert all(begun.wait(RESTART_S) for begun in streams)
        killed(app.replica("segmenter-main"))
        dead.set()
        refusals = set().union(*(ride.result(RESTART_S) for ride in rides))
        assert refusals <= TEMPORARY, refusals
        for client in (plain, v1):
            client.close(1000)
            assert client.end() == Seen(1000)
    Books(app)  # all is accounted for
    assert all("ended: client_close" in line for line in books.lines())
    assert app.said().count("Traceback") == said


def test_an_ingress_replica_that_dies_is_replaced(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    with RawClient(app.port, "plain") as plain, RawClient(app.port, "v1") as v1:
        died = time.monotonic()
        killed(app.replica("ingress"))
        assert {plain.end().code, v1.end().code} <= {1006, 1011, 1012}
        assert time.monotonic() - died < 5
    assert books.lines() == [], "the dead write no line"
    wait_until(lambda: answers(app, picture), "a new replica answers", RESTART_S)
    Books(app)  # which begins its accounts anew, and balances them


@pytest.mark.parametrize("app", ["default", BARE, DEPLOYED], indirect=True)
def test_a_proxy_that_dies_is_the_infrastructures_fault_and_its_successor_is_equipped(
    app: ServeApp, books: Books
) -> None:
    """As on a node that joins, the name of the new one is there before it listens."""
    before = app.proxies()
    with RawClient(app.port, "plain") as plain, RawClient(app.port, "v1") as v1:
        killed(*before)
        assert plain.end() == v1.end() == Seen(1006)
    wait_until(lambda: is_there(app), "a new proxy serves", RESTART_S)
    wait_until(lambda: len(lost(books)) == 2, "both are written down")
    assert all("ended: proxy_lost by infrastructure" in line for line in lost(books))
    assert all(line.startswith("WARNING") for line in lost(books))
    with RawClient(app.port) as client:
        assert client.between_pings_s() == pytest.approx(HEARTBEAT_S, abs=0.5)
    assert not {p.pid for p in before} & {p.pid for p in app.proxies()}
    Books(app)  # and accounted for


def is_there(app: ServeApp) -> bool:
    """Whether a client is let in; the first that is has a proxy that has just begun to listen."""
    with suppress(ConnectionEnded, ConnectionError, AssertionError), RawClient(app.port):
        return True
    return False


def lost(books: Books) -> list[str]:
    """The lines of all but the clients that looked whether the server is back."""
    return [line for line in books.lines() if "connection_lost" not in line]
