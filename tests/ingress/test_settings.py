"""Settings: immutable, closed, and honest about memory."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ingress.policy import Admission
from ingress.settings import Drain, IngressSettings, Resume, SessionLimits
from models.pictures.limits import ImageLimits


def test_defaults_are_valid() -> None:
    assert IngressSettings().limits.max_in_flight == 4


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_inflight"):
        SessionLimits.model_validate({"max_inflight": 3})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        IngressSettings().default_mode = "parts"  # type: ignore[misc]


def test_a_transport_that_takes_no_whole_frame_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_message_bytes must be at least"):
        SessionLimits(max_frame_bytes=4_000_000, max_message_bytes=4_000_000)


def test_the_ceiling_grows_with_what_a_session_may_hold() -> None:
    small = SessionLimits(max_frame_bytes=1_000_000).ceiling_bytes
    large = SessionLimits(max_frame_bytes=2_000_000).ceiling_bytes
    assert large - small == 8 * 1_000_000
    wide = SessionLimits(max_frame_bytes=1_000_000, max_result_bytes=32 * 2**20).ceiling_bytes
    assert wide - small == pytest.approx(5 * 16 * 2**20 * 4 / 3, abs=5)  # base64, plain clients


def test_results_that_an_answer_or_the_store_cannot_carry_are_refused() -> None:
    with pytest.raises(ValidationError, match="an answer of a segmenter carries"):
        IngressSettings(limits={"max_result_bytes": 32 * 2**20})
    with pytest.raises(ValidationError, match=r"a result of limits\.max_result_bytes"):
        IngressSettings(resume={"max_parked_bytes": 8 * 2**20})


def test_the_defaults_are_those_of_the_image_door() -> None:
    ours, theirs = SessionLimits(), ImageLimits(1, 1)
    assert ours.frame_work_ms == theirs.frame_work_ms
    assert ours.single_work_ms == theirs.single_work_ms
    assert ours.frame_draw_ms == theirs.frame_draw_ms
    assert ours.single_draw_ms == theirs.single_draw_ms
    assert ours.max_result_bytes == theirs.max_result_bytes


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (Resume, {"ttl_s": 1}),
        (Resume, {"ring_messages": 0}),
        (Resume, {"max_parked": 0}),
        (Resume, {"store_timeout_s": 0}),
        (Resume, {"result_age_s": -1}),
        (Drain, {"grace_s": 0}),
        (Drain, {"pace_s": -0.1}),
        (Admission, {"operator_token_sha256": "secret"}),
        (Admission, {"operator_token_sha256": "A" * 64}),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    group: type[Resume | Drain | Admission], values: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        group.model_validate(values)
