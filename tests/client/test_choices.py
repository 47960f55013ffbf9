"""What was chosen: nothing until the server confirms it, and only what a new session lacks."""

from __future__ import annotations

from typing import Any

import pytest

from client.choices import Choices
from ingress.wire.replies import ModeChanged, Stats, VizUpdated
from ingress.wire.requests import ChangeMode, SubscribeStats, UpdateViz
from tests.client.fake_server import PERSON, STATS, welcome


def mode(name: str) -> ModeChanged:
    return ModeChanged(model_mode=name, class_labels=PERSON.labels)


def chosen(*confirmed: ModeChanged | VizUpdated | Stats) -> Choices:
    choices = Choices()
    for message in confirmed:
        choices.on_confirmed(message)
    return choices


def view_asked_for(choices: Choices, **greeting: Any) -> dict[str, Any] | None:
    """The settings of the one ``update_viz`` among what is asked for."""
    requests = choices.lacking(welcome(**greeting))
    views = [request.settings for request in requests if isinstance(request, UpdateViz)]
    assert len(views) <= 1
    return views[0] if views else None


def test_nothing_chosen_is_nothing_asked_for() -> None:
    assert chosen().lacking(welcome(mode="parts", viz={"output": "alpha"})) == []
    assert chosen(STATS).lacking(welcome()) == []


def test_everything_chosen_is_asked_for_in_the_order_in_which_it_depends() -> None:
    choices = chosen(VizUpdated(settings={"output": "mask"}), mode("parts"))
    choices.on_subscribed(0.5)
    assert choices.lacking(welcome()) == [
        ChangeMode(type="change_mode", model_mode="parts"),
        UpdateViz(type="update_viz", settings={"output": "mask"}),
        SubscribeStats(type="subscribe_stats", interval_s=0.5),
    ]


def test_the_newest_confirmation_counts() -> None:
    choices = chosen(mode("parts"), mode("person"), VizUpdated(settings={"output": "mask"}))
    choices.on_confirmed(VizUpdated(settings={"output": "alpha", "quality": 50}))
    assert choices.lacking(welcome(mode="parts"))[0] == ChangeMode(
        type="change_mode", model_mode="person"
    )
    assert view_asked_for(choices) == {"output": "alpha", "quality": 50}


def test_what_the_new_session_has_is_not_asked_for() -> None:
    choices = chosen(mode("parts"), VizUpdated(settings={"output": "mask", "quality": 50}))
    assert choices.lacking(welcome(mode="parts", viz={"output": "mask", "quality": 50})) == []
    kept = {"output": "mask", "quality": 80}
    assert view_asked_for(choices, mode="parts", viz=kept) == {"quality": 50}


def test_a_subscription_that_was_ended_is_not_asked_for() -> None:
    choices = chosen()
    choices.on_subscribed(2.0)
    choices.on_subscribed(0.0)
    assert choices.lacking(welcome()) == []


@pytest.mark.parametrize(
    ("classes", "asked_for"), [([1, 2, 9], [1]), ([2, 9], None), ([1], [1]), (None, None)]
)
def test_classes_that_the_mode_lacks_are_dropped_as_the_server_does(
    classes: list[int] | None, asked_for: list[int] | None
) -> None:
    """The mode has classes 0 and 1; a filter of which nothing is left is none."""
    choices = chosen(VizUpdated(settings={"class_filter": classes}))
    assert view_asked_for(choices, viz={"class_filter": [0]}) == {"class_filter": asked_for}


def test_a_mode_that_the_server_lost_is_asked_for_and_its_classes_are_not_known() -> None:
    choices = chosen(mode("gone"), VizUpdated(settings={"class_filter": [1]}))
    first, view = choices.lacking(welcome(viz={"class_filter": [0]}))
    assert first == ChangeMode(type="change_mode", model_mode="gone")
    assert view == UpdateViz(type="update_viz", settings={"class_filter": None})
