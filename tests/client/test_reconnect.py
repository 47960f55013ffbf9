"""Coming back: when, after how long, and when not."""

from __future__ import annotations

import asyncio

import pytest

from client import Closed, End, Refused, reconnecting
from client.reconnect import backoff_s, delay_s
from ingress.disconnects import Advice
from ingress.protocol import Error, ErrorCode, Hello
from tests.client.fake_server import FakeServer


def longest(first: float, last: float) -> float:
    return last


def shortest(first: float, last: float) -> float:
    return first


@pytest.mark.parametrize(
    ("failures", "cap"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10_000, 30.0)]
)
def test_the_back_off_is_full_jitter_under_a_doubling_cap(failures: int, cap: float) -> None:
    assert backoff_s(failures, shortest) == 0.0
    assert backoff_s(failures, longest) == cap


@pytest.mark.parametrize(
    ("code", "failures", "first", "last"),
    [
        (1006, 0, 0.0, 0.5),
        (1011, 2, 0.0, 2.0),
        (1012, 3, 0.1, 0.9),
        (1013, 0, 1.0, 1.5),
        (4101, 1, 0.0, 1.0),
        (4201, 0, 0.0, 0.0),
        (4201, 1, 0.0, 1.0),
        (4299, 0, 0.0, 0.0),
    ],
)
def test_the_delay_follows_the_close_code(
    code: int, failures: int, first: float, last: float
) -> None:
    end = End(code, "", retry_ms=(100, 900))
    assert delay_s(end, failures, shortest) == pytest.approx(first)
    assert delay_s(end, failures, longest) == pytest.approx(last)


@pytest.mark.parametrize("code", [1000, 1002, 1008, 1009, 3000, 4000, 4001, 4002, 4077, 4202])
def test_some_codes_forbid_to_come_back(code: int) -> None:
    assert delay_s(End(code, "", (0, 0)), 0) is None


def test_every_advice_is_a_delay_or_a_no() -> None:
    comes_back = {Advice.AT_ONCE, Advice.IN_WINDOW, Advice.JITTERED, Advice.BACK_OFF}
    codes = [1000, 1006, 1008, 1012, 1013, 4000, 4202, 4201]
    ends = [End(code, "", (0, 0)) for code in codes]
    assert {end.advice for end in ends} == set(Advice)
    assert {end.advice for end in ends if delay_s(end, 0) is not None} == comes_back


async def test_a_session_follows_the_one_that_ended_until_one_is_final(server: FakeServer) -> None:
    async def close_each() -> None:
        for code in (4201, 4002):
            await (await server.peer()).socket.close(code)

    codes = []

    async def follow() -> None:
        async for stream in reconnecting(server.url):
            with pytest.raises(Closed) as caught:
                await anext(stream)
            codes.append(caught.value.end.code)

    closing = asyncio.create_task(close_each())
    with pytest.raises(Closed) as last:
        await follow()
    await closing
    assert (codes, last.value.end.code) == ([4201, 4002], 4002)


async def test_it_ends_with_a_session_that_the_caller_ended(server: FakeServer) -> None:
    accepting = asyncio.create_task(server.peer())
    sessions = [stream async for stream in reconnecting(server.url)]
    await accepting
    assert len(sessions) == 1


async def test_a_client_that_is_not_let_in_does_not_try_again(server: FakeServer) -> None:
    async def refuse() -> None:
        peer = await server.stranger()
        await peer.hear(Hello)
        await peer.say(Error(code=ErrorCode.UNAUTHORIZED, message="no token", recoverable=False))

    refusing = asyncio.create_task(refuse())
    with pytest.raises(Refused, match="no token"):
        await anext(aiter(reconnecting(server.url)))
    await refusing
