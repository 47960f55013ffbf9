"""How far a session has come."""

from __future__ import annotations

from ingress.session.progress import Progress


def test_each_session_has_an_id_of_its_own_until_it_takes_another() -> None:
    first, second = Progress(), Progress()
    assert first.session != second.session
    assert (first.hold, first.frame_seq, first.last_request) == (None, -1, None)


def test_a_request_without_an_id_leaves_the_newest_that_had_one() -> None:
    progress = Progress()
    for request in ("a", 2, None):
        progress.received(request)
    assert progress.last_request == 2
