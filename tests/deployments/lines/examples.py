"""Messages of every kind, as Hypothesis makes them up."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from deployments.lines.messages import Answer, Call, Cancel, Leaving, Refusal, Reply, Request
from models.view import Colormap, Output, PictureFormat, View, VisualizationMode
from models.work import STAGES, FailureCode, FrameFailure, FrameOutcome, FrameRequest, FrameResult

U32 = st.integers(0, 2**32 - 1)
NUMBERS = st.integers(0, 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
CLASS_IDS = st.integers(0, 255)

VIEWS = st.builds(
    View,
    visualization_mode=st.sampled_from(get_args(VisualizationMode)),
    overlay_opacity=st.floats(0, 1),
    class_filter=st.none() | st.lists(CLASS_IDS, max_size=256).map(tuple),
    output=st.sampled_from(get_args(Output)),
    format=st.sampled_from(get_args(PictureFormat)),
    quality=st.integers(1, 100),
    max_side=st.none() | st.integers(16, 8192),
    colormap=st.sampled_from(get_args(Colormap)),
    background=st.none() | st.integers(1, 100) | st.from_regex(r"#[0-9a-fA-F]{6}", fullmatch=True),
)
REQUESTS: st.SearchStrategy[Request] = st.builds(
    Call,
    NUMBERS,
    st.text(max_size=60),
    st.lists(st.builds(FrameRequest, image=st.binary(), view=VIEWS), max_size=4),
) | st.builds(Cancel, NUMBERS)
RESULTS = st.builds(
    FrameResult,
    payload=st.binary(),
    media_type=st.text(max_size=60),
    width=U32,
    height=U32,
    classes=st.lists(st.tuples(CLASS_IDS, FLOATS), max_size=20).map(tuple),
    thumbnail=st.binary(),
    stages_ms=st.fixed_dictionaries(dict.fromkeys(STAGES, FLOATS)),
)
FAILURES = st.builds(FrameFailure, st.sampled_from(get_args(FailureCode)), st.text(), FLOATS)
OUTCOMES: st.SearchStrategy[FrameOutcome] = RESULTS | FAILURES
REPLIES: st.SearchStrategy[Reply] = (
    st.builds(Answer, NUMBERS, st.lists(OUTCOMES, max_size=4))
    | st.builds(Refusal, NUMBERS, st.text())
    | st.just(Leaving())
)
