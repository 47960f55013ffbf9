"""What waits to be sent: order of the lanes, and their bounds."""

from __future__ import annotations

import asyncio

import pytest

from ingress.resume.parked import ControlRing, Numbered
from ingress.session.outbox import Outbox, Outgoing
from ingress.wire.pictures import PlainResult
from ingress.wire.replies import Dropped, Error, ServerMessage, ServerPong
from ingress.wire.said import size_of
from ingress.wire.text import encode_text, parse_server_text
from ingress.wire.words import DropCause, ErrorCode


class Alarm:
    """Counts how often the outbox said that it is full."""

    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


def pong(t: int) -> ServerPong:
    return ServerPong(t=t)


def sent(message: ServerMessage) -> Outgoing:
    text = encode_text(message)
    return Outgoing("pong", text, len(text))


def result(data: bytes) -> Outgoing:
    return Outgoing("result", data, len(data), is_result=True)


def dropped(seq: int, cause: DropCause) -> Dropped:
    return Dropped(frames=(seq,), cause=cause)


@pytest.fixture
def alarm() -> Alarm:
    return Alarm()


@pytest.fixture
def outbox(alarm: Alarm) -> Outbox:
    return Outbox(max_messages=3, max_bytes=200, on_full=alarm)


async def test_control_goes_before_results_and_each_lane_keeps_its_order(outbox: Outbox) -> None:
    for message in (b"r1", b"r2"):
        outbox.replay_result(message)
    for t in (1, 2):
        outbox.put(pong(t))
    taken = [await outbox.take() for _ in range(4)]
    assert taken == [sent(pong(1)), sent(pong(2)), result(b"r1"), result(b"r2")]


async def test_drops_of_one_cause_leave_as_one_message_between_the_lanes(outbox: Outbox) -> None:
    outbox.replay_result(b"r")
    for seq in (4, 5):
        outbox.put(dropped(seq, DropCause.STALE))
    outbox.put(pong(1))
    assert await outbox.take() == sent(pong(1))
    notice = await outbox.take()
    assert parse_server_text(str(notice.said)) == Dropped(frames=(4, 5), cause=DropCause.STALE)
    assert (notice.kind, notice.is_result) == ("dropped", False)
    assert await outbox.take() == result(b"r")


async def test_each_cause_of_drops_has_its_own_message(outbox: Outbox) -> None:
    for seq, cause in enumerate(DropCause):
        outbox.put(dropped(seq, cause))
    notices = [parse_server_text(str((await outbox.take()).said)) for _ in DropCause]
    assert {n.cause: n.frames for n in notices if isinstance(n, Dropped)} == {
        cause: (seq,) for seq, cause in enumerate(DropCause)
    }


async def test_a_writer_that_waits_is_woken_by_any_lane(outbox: Outbox) -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(outbox.put, pong(1))
    assert await outbox.take() == sent(pong(1))
    loop.call_soon(outbox.replay_result, b"r")
    assert await outbox.take() == result(b"r")
    loop.call_soon(outbox.put, dropped(1, DropCause.STALE))
    assert (await outbox.take()).kind == "dropped"


async def test_a_take_that_is_cancelled_loses_nothing(outbox: Outbox) -> None:
    writer = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    outbox.put(pong(1))
    assert await outbox.take() == sent(pong(1))


def test_too_many_control_messages_ring_the_alarm_and_are_let_go(
    outbox: Outbox, alarm: Alarm
) -> None:
    for _ in range(3):
        outbox.put(pong(1))
    assert alarm.rung == 0
    outbox.put(pong(1))
    assert (alarm.rung, outbox.size_bytes) == (1, 3 * size_of(encode_text(pong(1))))


def error(text: str) -> Error:
    return Error(code=ErrorCode.BAD_MESSAGE, message=text)


def test_too_many_control_bytes_ring_the_alarm(alarm: Alarm) -> None:
    outbox = Outbox(max_messages=3, max_bytes=size_of(encode_text(error("x" * 100))), on_full=alarm)
    outbox.put(error("x" * 100))
    assert alarm.rung == 0
    outbox.put(error(""))
    assert alarm.rung == 1


def test_bytes_are_those_on_the_wire_not_characters(alarm: Alarm) -> None:
    assert size_of("\u20ac") == size_of(b"abc") == size_of("abc") == 3
    outbox = Outbox(max_messages=3, max_bytes=len(encode_text(error("\u20ac"))), on_full=alarm)
    outbox.put(error("\u20ac"))
    assert alarm.rung == 1


def test_notices_of_drops_are_bounded_too(outbox: Outbox, alarm: Alarm) -> None:
    for seq in range(4096):
        outbox.put(dropped(seq, DropCause.SUPERSEDED))
    assert alarm.rung == 0
    outbox.put(dropped(4096, DropCause.SUPERSEDED))
    assert alarm.rung == 1


async def test_size_counts_both_lanes_down_to_nothing(outbox: Outbox) -> None:
    outbox.put(pong(1))
    outbox.replay_result(b"12345")
    outbox.put_result(PlainResult(None, b"plain", {}))
    assert outbox.size_bytes == size_of(encode_text(pong(1))) + 10
    for _ in range(3):
        await outbox.take()
    assert outbox.size_bytes == 0


def numbers(ring: ControlRing) -> list[tuple[int, str]]:
    return [(message.seq, message.kind) for message in ring]


async def test_replies_errors_and_drops_are_numbered_in_the_order_in_which_they_leave(
    alarm: Alarm,
) -> None:
    outbox, ring = Outbox(9, 9000, alarm), ControlRing(9, 9000)
    outbox.put(error("before there is a session"))
    outbox.number(ring)
    outbox.put(dropped(1, DropCause.STALE))
    outbox.put(error("a"))
    outbox.put(pong(1))
    outbox.put(error("b"))
    said = [parse_server_text(str((await outbox.take()).said)) for _ in range(5)]
    assert [message.control_seq for message in said] == [None, 1, None, 2, 3]
    assert numbers(ring) == [(1, "error"), (2, "error"), (3, "dropped")]


async def test_notices_that_never_left_are_kept_at_the_end(alarm: Alarm) -> None:
    outbox, ring = Outbox(9, 9000, alarm), ControlRing(9, 9000)
    outbox.number(ring)
    for seq, cause in enumerate(DropCause):
        outbox.put(dropped(seq, cause))
    outbox.tell_drops()
    assert [seq for seq, _ in numbers(ring)] == list(range(1, len(DropCause) + 1))


def test_what_the_full_outbox_lets_go_is_in_the_ring(alarm: Alarm) -> None:
    outbox, ring = Outbox(1, 9000, alarm), ControlRing(9, 9000)
    outbox.number(ring)
    for text in "abc":
        outbox.put(error(text))
    assert (alarm.rung, len(numbers(ring))) == (2, 3)


async def test_what_is_sent_again_is_unchanged_and_comes_on_top_of_the_bounds(
    alarm: Alarm,
) -> None:
    outbox = Outbox(1, 50, alarm)
    for seq in range(5):
        outbox.replay(Numbered(seq, "stats", f"text {seq}"))
    outbox.put(pong(1))
    assert alarm.rung == 0
    assert [(await outbox.take()).said for _ in range(5)] == [f"text {seq}" for seq in range(5)]


def test_a_notice_of_many_drops_is_told_before_it_grows_further() -> None:
    alarm = Alarm()
    outbox, ring = Outbox(9, 10**6, alarm), ControlRing(9, 10**6)
    outbox.number(ring)
    for seq in range(5000):
        outbox.put(dropped(seq, DropCause.STALE))
    outbox.tell_drops()
    assert (alarm.rung, len(numbers(ring))) == (0, 2)
