"""The disconnect table: what the design fixes, and the page written from it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from ingress.disconnects import (
    CODE_RANGES,
    DISCONNECTS,
    Advice,
    CodeRange,
    Disconnect,
    Initiator,
    advice_for,
    disconnect_seen,
    page,
)

DOCS = Path(__file__).parents[2] / "docs"
RESERVED = {1005, 1006, 1015}  # RFC 6455 section 7.4.1: never in a close frame

# name: (code, level, advice), as the protocol promises them to clients
PROMISED = {
    "client_close": (None, logging.INFO, Advice.CLIENTS_CHOICE),
    "connection_lost": (None, logging.INFO, Advice.JITTERED),
    "proxy_lost": (None, logging.WARNING, Advice.BACK_OFF),
    "keepalive_timeout": (4201, logging.INFO, Advice.AT_ONCE),
    "slow_consumer": (4101, logging.WARNING, Advice.BACK_OFF),
    "idle_timeout": (4000, logging.INFO, Advice.ON_USER_ACTION),
    "hello_timeout": (4001, logging.INFO, Advice.NEVER),
    "auth_rejected": (3000, logging.WARNING, Advice.NEVER),
    "auth_expired": (4202, logging.INFO, Advice.WITH_NEW_TOKEN),
    "policy_violation": (1008, logging.WARNING, Advice.NEVER),
    "protocol_error": (1002, logging.WARNING, Advice.NEVER),
    "message_too_big": (1009, logging.WARNING, Advice.NEVER),
    "overloaded": (1013, logging.WARNING, Advice.BACK_OFF),
    "server_shutdown": (1012, logging.INFO, Advice.IN_WINDOW),
    "replaced": (4002, logging.INFO, Advice.NEVER),
    "server_error": (1011, logging.ERROR, Advice.BACK_OFF),
}


def test_the_set_of_reasons_is_closed() -> None:
    assert set(DISCONNECTS) == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_a_reason_has_the_code_level_and_advice_that_clients_rely_on(name: str) -> None:
    row = DISCONNECTS[name]
    assert (row.code, row.level, row.advice) == PROMISED[name]
    assert row.name == name


@pytest.mark.parametrize("name", PROMISED)
def test_a_reason_can_be_sent_as_a_close_frame(name: str) -> None:
    row = DISCONNECTS[name]
    assert re.fullmatch(r"[a-z_]+", name)
    assert len(name.encode()) <= 123  # RFC 6455 section 5.5.1, less the code
    assert row.code not in RESERVED
    assert row.seen


def test_a_code_means_one_reason() -> None:
    codes = [row.code for row in DISCONNECTS.values() if row.code is not None]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("name", PROMISED)
def test_only_the_server_has_codes_to_send(name: str) -> None:
    row = DISCONNECTS[name]
    assert (row.initiator is Initiator.SERVER) == (row.code is not None)
    assert Disconnect(name).by_server == (row.code is not None)


@pytest.mark.parametrize(
    ("code", "close_frame", "name"),
    [
        (1000, True, "client_close"),
        (1001, True, "client_close"),
        (1005, True, "client_close"),
        (4321, True, "client_close"),
        (1005, False, "connection_lost"),
        (1006, False, "connection_lost"),
        (None, False, "connection_lost"),
        (1002, True, "protocol_error"),
        (1003, True, "protocol_error"),
        (1007, True, "protocol_error"),
        (1009, True, "message_too_big"),
    ],
)
def test_what_receive_reports_is_read_as_a_reason(
    code: int | None, close_frame: bool, name: str
) -> None:
    seen = disconnect_seen(code, close_frame=close_frame)
    assert seen.reason.name == name
    assert seen.code_seen == (code or 1005)
    assert not seen.by_server  # it is over: no close frame is owed


@pytest.mark.parametrize("name", [n for n, (code, _, _) in PROMISED.items() if code is not None])
def test_a_client_that_sees_the_code_reads_the_advice_of_its_row(name: str) -> None:
    row = DISCONNECTS[name]
    assert row.code is not None
    assert advice_for(row.code) is row.advice


@pytest.mark.parametrize(
    ("first", "last", "advice"),
    [(4000, 4099, Advice.NEVER), (4100, 4199, Advice.BACK_OFF), (4200, 4299, Advice.AT_ONCE)],
)
def test_a_code_without_a_row_speaks_through_its_range(
    first: int, last: int, advice: Advice
) -> None:
    assert CodeRange(first, last, advice) in CODE_RANGES
    with_a_row = {row.code for row in DISCONNECTS.values()}
    assert {advice_for(c) for c in range(first, last + 1) if c not in with_a_row} == {advice}


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (1000, Advice.CLIENTS_CHOICE),
        (1001, Advice.BACK_OFF),
        (1003, Advice.NEVER),
        (1005, Advice.JITTERED),
        (1006, Advice.JITTERED),
        (1007, Advice.NEVER),
        (4300, Advice.BACK_OFF),
        (2999, Advice.BACK_OFF),
    ],
)
def test_codes_outside_the_table_have_an_advice_too(code: int, advice: Advice) -> None:
    assert advice_for(code) is advice


def test_the_ranges_agree_with_the_rows_in_them() -> None:
    for row in DISCONNECTS.values():
        if row.code is not None and 4100 <= row.code < 4200:
            assert row.advice is Advice.BACK_OFF
        if row.code is not None and 4000 <= row.code < 4100:
            assert row.advice in (Advice.NEVER, Advice.ON_USER_ACTION)


def test_the_page_is_the_table() -> None:
    assert (DOCS / "disconnects.md").read_text() == page()


@pytest.mark.parametrize("name", PROMISED)
def test_the_page_has_a_line_for_each_reason(name: str) -> None:
    lines = [line for line in page().splitlines() if line.startswith(f"| `{name}` |")]
    assert len(lines) == 1
    assert lines[0].count("|") == 8
