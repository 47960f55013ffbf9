"""How things end, in words."""

from __future__ import annotations

import pytest

from client import Closed, Dropped, End, Failed, NoReply, NoResult, StreamError
from ingress.wire.words import DropCause, ErrorCode


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            Closed(End(4002, "replaced", (0, 0))),
            "the connection closed with code 4002 (replaced): do not reconnect",
        ),
        (
            Closed(End(1006, "", (0, 0))),
            "the connection closed with code 1006: reconnect with jitter",
        ),
        (NoReply("get_stats", 2.5), "the server did not answer get_stats within 2.5 s"),
        (NoResult(Dropped(1, DropCause.NO_CREDIT)), "frame dropped: no_credit"),
        (NoResult(Failed(1, ErrorCode.FRAME_REJECTED, "too many pixels")), "too many pixels"),
    ],
)
def test_an_error_says_what_happened(error: StreamError, words: str) -> None:
    assert str(error) == words
