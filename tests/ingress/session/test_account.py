"""What is counted of a session, in its own figures and the replica's metrics at once."""

from __future__ import annotations

from ingress.dispatch.flight import Flight
from ingress.session.account import Account
from ingress.session.single import SingleFrame
from ingress.wire.pictures import Frame
from ingress.wire.requests import Ping
from ingress.wire.words import DropCause
from models.view import View
from models.work import FrameRequest
from tests.ingress.fakes import result
from tests.ingress.world import World


async def test_both_sums_follow_every_end_of_a_frame(world: World) -> None:
    account = Account(world.service.metrics)
    source, request = SingleFrame(b"x", View(), "person"), FrameRequest(b"x", View())
    flight = Flight(source, source, Frame(1, 0, 0, b"x"), request, "person", 1.0, 1.01)
    flight.landed_at = 1.05
    for _ in range(3):
        account.arrived()
    account.answered(flight, result(request))
    account.failed("person")
    account.dropped("parts", DropCause.STALE)
    figures = account.figures
    assert (figures.frames_in, figures.results_out, figures.errors) == (3, 1, 1)
    assert figures.dropped == {"stale": 1}
    ends = [("person", "result"), ("person", "error"), ("parts", "dropped")]
    assert [world.count("frames_total", mode=m, outcome=o) for m, o in ends] == [1, 1, 1]
    assert world.total("frames_total") == 3
    assert world.count("frames_dropped_total", cause="stale") == 1


async def test_messages_and_bytes_are_counted_once_each_way(world: World) -> None:
    account = Account(world.service.metrics)
    account.received(10, binary=True)
    account.received(5, binary=False)
    account.understood(Ping(type="ping", t=1))
    account.understood(Frame(1, 0, 0, b"x"))
    account.refused()
    account.sent("pong", 7)
    assert (account.figures.bytes_in, account.figures.bytes_out) == (15, 7)
    counted = {
        kind: world.count("ws_messages_total", direction="in", type=kind)
        for kind in ("frame", "ping", "bad")
    }
    assert counted == {"frame": 2, "ping": 1, "bad": 1}
    assert world.count("ws_messages_total", direction="out", type="pong") == 1
