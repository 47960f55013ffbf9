"""Coming back: after how long, and when not."""

from __future__ import annotations

import pytest

from client import End
from client.reconnect import backoff_s, delay_s
from ingress.disconnects import Advice


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
        (1005, 1, 0.0, 1.0),
        (1012, 0, 0.1, 0.9),
        (1012, 3, 0.0, 4.0),
        (1013, 0, 1.0, 1.5),
        (4101, 1, 0.0, 1.0),
        (4201, 0, 0.0, 0.0),
        (4201, 1, 0.0, 1.0),
        (4202, 0, 0.0, 0.0),
        (4299, 0, 0.0, 0.0),
    ],
)
def test_the_delay_follows_the_close_code(
    code: int, failures: int, first: float, last: float
) -> None:
    end = End(code, "", retry_ms=(100, 900))
    assert delay_s(end, failures, shortest) == pytest.approx(first)
    assert delay_s(end, failures, longest) == pytest.approx(last)


@pytest.mark.parametrize("code", [1000, 1002, 1008, 1009, 3000, 4000, 4001, 4002, 4077])
def test_some_codes_forbid_to_come_back(code: int) -> None:
    assert delay_s(End(code, "", (0, 0)), 0) is None


def test_every_advice_is_a_delay_or_a_no() -> None:
    stays_away = {Advice.CLIENTS_CHOICE, Advice.NEVER, Advice.ON_USER_ACTION}
    codes = [1000, 1006, 1008, 1012, 1013, 4000, 4202, 4201]
    ends = [End(code, "", (0, 0)) for code in codes]
    assert {end.advice for end in ends} == set(Advice)
    assert {end.advice for end in ends if delay_s(end, 0) is None} == stays_away
