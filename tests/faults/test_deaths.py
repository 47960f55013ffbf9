"""Processes of the server that are killed, and what clients and the accounts see of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import psutil
import pytest

from tests.faults.books import Books, wait_until
from tests.faults.raw_client import ConnectionEnded, RawClient, Seen
from tests.serve_app import ServeApp

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

RESTART_S = 90.0


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


def killed(process: psutil.Process) -> None:
    process.kill()
    psutil.wait_procs([process], timeout=10)


def ride_out(client: RawClient, picture: bytes, streams: Event) -> list[str]:
    """Stream through the death of the segmenter until results come again; what refusals said."""
    refusals: list[str] = []
    deadline = time.monotonic() + RESTART_S
    client.frame(picture)
    while True:
        assert time.monotonic() < deadline, f"no result after {len(refusals)} refusals"
        message = client.next_message()
        match message["type"]:
            case "segmentation" | "result":
                client.ack = max(client.ack, int(str(message.get("seq") or 0)))
                if refusals:
                    return refusals
                streams.set()
            case "error" | "dropped":
                refusals.append(str(message.get("cause") or message.get("code")))
            case "ping":
                client.pong()
                continue
            case _:
                continue
        client.frame(picture)


def test_a_segmenter_that_dies_in_mid_frame_costs_frames_not_connections(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    streams = Event(), Event()
    said = app.said().count("Traceback")
    with (
        RawClient(app.port, "plain") as plain,
        RawClient(app.port, "v1") as v1,
        ThreadPoolExecutor() as riders,
    ):
        clients = zip((plain, v1), streams, strict=True)
        rides = [riders.submit(ride_out, client, picture, begun) for client, begun in clients]
        assert all(begun.wait(RESTART_S) for begun in streams)
        killed(app.replica("segmenter-main"))
        refusals = {refusal for ride in rides for refusal in ride.result(RESTART_S)}
        assert refusals <= {"mode_unavailable", "FRAME_DROPPED", "INFERENCE_FAILED"}
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


@pytest.mark.parametrize("app", ["default"], indirect=True)
def test_a_proxy_that_dies_is_the_infrastructures_fault(
    app: ServeApp, books: Books, picture: bytes
) -> None:
    proxies = [p for p in app.server.family if p.is_running() and "ProxyActor" in p.cmdline()[0]]
    clients = [RawClient(app.port, dialect) for dialect in ("plain", "v1")]
    killed(*proxies)
    assert {client.end() for client in clients} == {Seen(1006)}
    wait_until(lambda: answers(app, picture), "a new proxy serves", RESTART_S)
    lines = [line for line in books.lines() if "client_close" not in line]
    assert len(lines) == 2
    assert all("ended: proxy_lost by infrastructure" in line for line in lines)
