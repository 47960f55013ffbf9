"""Settings laid over a view: all of them or none, and never a class that is not there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from models.view import UnknownClass, View


def test_settings_are_laid_over_the_ones_in_force() -> None:
    view = View(quality=50).updated({"overlay_opacity": 0.25}, class_count=2)
    assert (view.quality, view.overlay_opacity) == (50, 0.25)


def test_an_update_leaves_the_view_it_came_from_as_it_was() -> None:
    view = View()
    view.updated({"quality": 5}, class_count=2)
    assert view.quality == 80


def test_the_original_spelling_of_side_by_side_is_understood() -> None:
    view = View().updated({"visualization_mode": "side_by_side"}, class_count=2)
    assert view.visualization_mode == "side-by-side"


@pytest.mark.parametrize(
    "settings",
    [
        {"unknown": 1},
        {"visualization_mode": "sparkles"},
        {"visualization_mode": 3},
        {"overlay_opacity": 1.5},
        {"overlay_opacity": "0.5"},
        {"overlay_opacity": float("nan")},
        {"class_filter": [-1]},
        {"class_filter": [256]},  # label maps are uint8
        {"class_filter": [0.5]},
        {"class_filter": ["1"]},
        {"class_filter": [True]},
        {"class_filter": 1},
        {"class_filter": [0] * 257},
        {"output": "video"},
        {"format": "gif"},
        {"quality": 0},
        {"quality": 101},
        {"quality": 80.5},
        {"max_side": 15},
        {"max_side": 8193},
        {"colormap": "jet"},
        {"background": "red"},
        {"background": "#12345"},
        {"background": 0},
        {"background": 101},
        {"background": True},
    ],
    ids=str,
)
def test_a_bad_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        View().updated(settings, class_count=6)


@pytest.mark.parametrize(
    "settings",
    [
        {"class_filter": None},
        {"class_filter": [1, 2]},
        {"class_filter": []},
        {"max_side": None},
        {"background": None},
        {"background": "#00Ff7f"},
        {"background": 30},
        {"overlay_opacity": 1},
    ],
    ids=str,
)
def test_a_good_setting_is_taken(settings: dict[str, Any]) -> None:
    View().updated(settings, class_count=6)


def test_a_class_that_the_mode_lacks_is_refused_by_number() -> None:
    with pytest.raises(UnknownClass, match="no class 2, 7; this mode has 0 to 1"):
        View().updated({"class_filter": [7, 1, 2]}, class_count=2)


def test_a_filter_from_another_mode_does_not_block_other_settings() -> None:
    view = View(class_filter=(4, 5)).updated({"quality": 33}, class_count=2)
    assert view.quality == 33


def test_moving_to_a_smaller_mode_drops_the_classes_it_lacks() -> None:
    assert View(class_filter=(1, 4)).for_classes(2).class_filter == (1,)


def test_a_filter_left_empty_by_a_smaller_mode_shows_every_class() -> None:
    assert View(class_filter=(4, 5)).for_classes(2).class_filter is None


@pytest.mark.parametrize("chosen", [None, (0, 1), ()])
def test_a_filter_that_fits_the_mode_is_kept(chosen: tuple[int, ...] | None) -> None:
    view = View(class_filter=chosen)
    assert view.for_classes(2) is view


def test_a_view_survives_json() -> None:
    view = View(class_filter=(1,), background="#102030", max_side=320)
    assert View.model_validate(view.model_dump(mode="json")) == view
