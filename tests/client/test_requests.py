"""The book of requests: numbers, order, one answer for each."""

from __future__ import annotations

import json

import pytest

from client.outcomes import End
from client.requests import Request, Requests
from ingress.wire.replies import Error
from ingress.wire.requests import ChangeMode, GetStats
from ingress.wire.words import BadMessage, ErrorCode
from tests.client.fake_server import STATS

GONE = End(1012, "server_shutdown", (0, 1))


def asked(requests: Requests, count: int) -> list[Request]:
    return [requests.open(GetStats(type="get_stats")) for _ in range(count)]


def reply(to: int | str | None) -> Error:
    return Error(reply_to=to, code=ErrorCode.OVERLOADED, message=f"for {to}")


async def test_a_request_is_sent_with_its_number() -> None:
    requests = Requests()
    asked(requests, 1)
    second = requests.open(ChangeMode(type="change_mode", model_mode="parts"))
    assert second.id == 2
    assert json.loads(second.text) == {"type": "change_mode", "id": 2, "model_mode": "parts"}


async def test_each_reply_goes_to_its_own_request() -> None:
    requests = Requests()
    first, second = asked(requests, 2)
    assert requests.settle(reply(2))
    assert not first.answer.done()
    assert await second.answer == reply(2)
    assert requests.settle(STATS.model_copy(update={"reply_to": 1}))
    assert (await first.answer).type == "stats"  # type: ignore[union-attr]


@pytest.mark.parametrize("stranger", [None, 0, 9, "1"])
async def test_a_reply_to_no_request_of_ours_is_not_taken(stranger: int | str | None) -> None:
    requests = Requests()
    (waiting,) = asked(requests, 1)
    assert not requests.settle(reply(stranger))
    assert not waiting.answer.done()


async def test_only_the_first_reply_counts() -> None:
    requests = Requests()
    (request,) = asked(requests, 1)
    assert requests.settle(reply(1))
    assert not requests.settle(STATS.model_copy(update={"reply_to": 1}))
    assert await request.answer == reply(1)


async def test_a_request_whose_caller_left_is_neither_answered_nor_sent_again() -> None:
    requests = Requests()
    first, second = asked(requests, 2)
    requests.close(first)
    assert first.answer.cancelled()
    assert not requests.settle(reply(1))
    assert requests.after(None) == [second.text]
    requests.close(first)  # and leaving twice is leaving


@pytest.mark.parametrize(
    ("last", "missing"), [(None, [1, 2, 3]), (0, [1, 2, 3]), (2, [3]), (3, [])]
)
async def test_what_the_server_has_not_received_is_sent_again_in_order(
    last: int | None, missing: list[int]
) -> None:
    requests = Requests()
    texts = {request.id: request.text for request in asked(requests, 3)}
    assert requests.after(last) == [texts[number] for number in missing]


async def test_what_is_answered_is_not_sent_again() -> None:
    requests = Requests()
    _, second, third = asked(requests, 3)
    requests.settle(reply(1))
    assert requests.after(None) == [second.text, third.text]


@pytest.mark.parametrize("last", [-1, 3, "2"])
async def test_a_number_that_was_never_given_is_not_understood(last: int | str) -> None:
    requests = Requests()
    asked(requests, 2)
    with pytest.raises(BadMessage, match="was never sent"):
        requests.after(last)


async def test_the_end_of_the_session_answers_all_that_have_no_reply() -> None:
    requests = Requests()
    first, second, third = asked(requests, 3)
    requests.settle(reply(2))
    requests.close(third)
    requests.fail(GONE)
    assert await first.answer == GONE
    assert await second.answer == reply(2)
    assert third.answer.cancelled()
    (later,) = asked(requests, 1)
    assert (later.id, later.answer.done()) == (4, False)  # numbers go on in the next session
