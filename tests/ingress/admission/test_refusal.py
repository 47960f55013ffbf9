"""The table of refusals: closed, and each row says enough to whom it keeps out."""

from __future__ import annotations

import pickle

import pytest

from ingress.admission.refusal import REFUSALS, Refusal, Refused
from ingress.disconnects import DISCONNECTS
from tests.ingress.world import World


@pytest.mark.parametrize("row", REFUSALS.values(), ids=REFUSALS)
def test_every_row_has_a_status_and_an_end(row: Refusal) -> None:
    refused = Refused(row.name, "a hint")
    headers = refused.headers()
    assert row.status in (401, 403, 408, 429, 503)
    assert ("www-authenticate" in headers) is (row.status == 401)
    assert ("retry-after" in headers) is (row.status in (429, 503))
    assert refused.body() == {"error": {"code": row.code, "message": f"{row.words}; a hint"}}
    assert DISCONNECTS[row.disconnect].code is not None
    end = refused.disconnect()
    assert (end.reason.name, end.explanation) == (row.disconnect, refused.words)
    assert len(row.words.encode()) <= 123, "fits a close frame"


def test_a_refusal_crosses_processes_whole() -> None:
    sent = pickle.loads(pickle.dumps(Refused("origin", "a hint")))
    assert (sent.refusal, sent.words) == (
        REFUSALS["origin"], "pages of this origin may not come in; a hint",
    )  # fmt: skip


def test_every_label_is_there_from_the_start(world: World) -> None:
    for name in REFUSALS:
        value = world.service.metrics.registry.get_sample_value(
            "segstream_ws_handshakes_rejected_total", {"reason": name}
        )
        assert value == 0.0
