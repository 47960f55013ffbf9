import json
import math

import pytest
import torch
from torch import Tensor

from models.stats import (
    centroid_speed,
    centroids,
    class_shares,
    last_place,
    mask_stability,
    presence,
    scene_statistics,
    share_trend,
)

NAN = math.nan
LABELS = ("background", "person")


def label_maps(*pictures: list[list[int]]) -> Tensor:
    return torch.tensor(pictures, dtype=torch.uint8)


def seconds(*times: float) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)


def assert_equal(actual: Tensor, expected: list[object]) -> None:
    torch.testing.assert_close(
        actual, torch.tensor(expected, dtype=torch.float64), equal_nan=True, check_dtype=False
    )


GROWING = label_maps([[0, 0], [0, 0]], [[1, 0], [0, 0]], [[1, 1], [0, 0]])


def test_shares_are_parts_of_the_frame() -> None:
    assert_equal(class_shares(GROWING, 3), [[1, 0, 0], [0.75, 0.25, 0], [0.5, 0.5, 0]])


def test_shares_are_the_same_for_any_integer_type() -> None:
    torch.testing.assert_close(class_shares(GROWING, 2), class_shares(GROWING.long(), 2))


def test_the_trend_is_the_slope_of_the_share_in_its_own_time() -> None:
    shares = class_shares(GROWING, 2)
    assert_equal(share_trend(shares, seconds(0, 1, 2)), [-0.25, 0.25])
    assert_equal(share_trend(shares, seconds(100, 100.5, 101)), [-0.5, 0.5])


def test_the_trend_is_a_least_squares_fit() -> None:
    shares = torch.tensor([[0.0], [0.0], [0.3]], dtype=torch.float64)
    # mean time 1, mean share 0.1: (1 * 0.1 + 0 + 1 * 0.2) / 2
    assert_equal(share_trend(shares, seconds(0, 1, 2)), [0.15])


@pytest.mark.parametrize("times", [seconds(), seconds(3), seconds(3, 3)])
def test_the_trend_of_less_than_two_instants_is_zero(times: Tensor) -> None:
    shares = torch.ones(len(times), 2, dtype=torch.float64)
    assert_equal(share_trend(shares, times), [0, 0])


def test_stability_is_the_mean_iou_of_consecutive_frames() -> None:
    maps = label_maps([[1, 1], [0, 0]], [[1, 1], [0, 0]], [[1, 0], [0, 0]])
    # background: 2/2 then 2/3; person: 2/2 then 1/2
    assert_equal(mask_stability(maps, 2), [(1 + 2 / 3) / 2, 0.75])


def test_a_class_that_comes_or_goes_overlaps_nothing() -> None:
    maps = label_maps([[0, 0]], [[0, 1]], [[0, 0]])
    assert_equal(mask_stability(maps, 2), [0.5, 0])


def test_pairs_that_never_show_a_class_do_not_count_for_it() -> None:
    maps = label_maps([[0, 0]], [[0, 0]], [[0, 1]], [[0, 1]])
    assert_equal(mask_stability(maps, 3), [(1 + 0.5 + 1) / 3, 0.5, NAN])


def test_stability_of_a_single_frame_is_unknown() -> None:
    assert_equal(mask_stability(GROWING[:1], 2), [NAN, NAN])
    assert_equal(mask_stability(GROWING[:0], 2), [NAN, NAN])


def test_centroids_are_x_then_y_from_pixel_centres() -> None:
    maps = label_maps([[0, 0, 0, 1], [0, 0, 0, 1]], [[2, 0, 0, 0], [0, 0, 0, 0]])
    places = centroids(maps, 3)
    assert_equal(places[0], [[0.375, 0.5], [0.875, 0.5], [NAN, NAN]])
    assert_equal(places[1, 1:], [[NAN, NAN], [0.125, 0.25]])


def test_speed_is_in_frame_widths_whatever_the_direction() -> None:
    across = torch.tensor([[[0.2, 0.5]], [[0.5, 0.5]]], dtype=torch.float64)
    down = torch.tensor([[[0.5, 0.2]], [[0.5, 0.6]]], dtype=torch.float64)
    assert_equal(centroid_speed(across, seconds(0, 0.5), aspect=0.5), [0.6])
    assert_equal(centroid_speed(down, seconds(0, 0.5), aspect=0.5), [0.4])


def test_speed_follows_the_path_not_the_displacement() -> None:
    there_and_back = torch.tensor([[[0.2, 0.5]], [[0.6, 0.5]], [[0.2, 0.5]]], dtype=torch.float64)
    assert_equal(centroid_speed(there_and_back, seconds(0, 1, 2), aspect=1), [0.4])


def test_time_out_of_view_counts_neither_as_path_nor_as_time() -> None:
    places = torch.tensor(
        [[[0.1, 0.5]], [[0.2, 0.5]], [[NAN, NAN]], [[0.9, 0.5]]], dtype=torch.float64
    )
    assert_equal(centroid_speed(places, seconds(0, 1, 2, 3), aspect=1), [0.1])


def test_a_class_never_seen_twice_in_a_row_has_no_speed() -> None:
    places = torch.tensor([[[0.1, 0.5]], [[NAN, NAN]], [[0.3, 0.5]]], dtype=torch.float64)
    assert_equal(centroid_speed(places, seconds(0, 1, 2), aspect=1), [NAN])
    assert_equal(centroid_speed(places[:1], seconds(0), aspect=1), [NAN])


def test_the_last_known_place_outlives_an_absence() -> None:
    places = torch.tensor([[[0.1, 0.5]], [[0.2, 0.4]], [[NAN, NAN]]], dtype=torch.float64)
    assert_equal(last_place(places), [[0.2, 0.4]])
    assert_equal(last_place(places[2:]), [[NAN, NAN]])


def test_presence_lasts_until_the_next_frame() -> None:
    shares = torch.tensor([[1, 0], [0.5, 0.5], [1, 0], [0.9, 0.1]], dtype=torch.float64)
    assert_equal(presence(shares, seconds(0, 1, 3, 4)), [4, 2])


def test_a_scene_is_told_class_by_class() -> None:
    maps = label_maps([[1, 0, 0, 0], [1, 0, 0, 0]], [[0, 1, 0, 0], [0, 1, 0, 0]])
    scene = scene_statistics(maps, seconds(10, 10.5), LABELS)
    assert (scene.frames, scene.window_s) == (2, 0.5)
    assert [row.label for row in scene.classes] == ["background", "person"]
    person = scene.classes[1]
    assert person.id == 1
    assert person.share == 0.25
    assert person.trend_per_s == 0
    assert person.stability == 0
    assert person.speed == pytest.approx(0.5)  # a quarter of the width in half a second
    assert person.centroid == (0.375, 0.5)
    assert person.presence_s == 0.5
    assert scene.stability == pytest.approx(0.25)  # background 4/8, person 0/4


def test_an_empty_window_has_every_class_and_no_figures() -> None:
    scene = scene_statistics(torch.zeros(0, 4, 4, dtype=torch.uint8), seconds(), LABELS)
    assert (scene.frames, scene.window_s, scene.stability) == (0, 0, None)
    person = scene.classes[1]
    assert (person.share, person.trend_per_s, person.presence_s) == (0, 0, 0)
    assert (person.stability, person.speed, person.centroid) == (None, None, None)


def test_a_single_frame_has_shares_and_places_but_no_motion() -> None:
    scene = scene_statistics(label_maps([[0, 1]]), seconds(7), LABELS)
    person = scene.classes[1]
    assert (person.share, person.centroid) == (0.5, (0.75, 0.5))
    assert (person.trend_per_s, person.presence_s, scene.window_s) == (0, 0, 0)
    assert (person.stability, person.speed, scene.stability) == (None, None, None)


def test_a_scene_is_ready_for_json() -> None:
    scene = scene_statistics(GROWING, seconds(0, 1, 2), (*LABELS, "never"))
    told = json.loads(json.dumps(scene.to_dict(), allow_nan=False))
    assert told["frames"] == 3
    assert told["classes"][1]["trend_per_s"] == pytest.approx(0.25)
    assert told["classes"][1]["centroid"] == [0.5, 0.25]
    assert told["classes"][2]["speed"] is None


@pytest.mark.parametrize(
    ("maps", "times", "says"),
    [
        (torch.zeros(2, 4, 4), seconds(0), r"expected \[T, H, W\] and \[T\]"),
        (torch.zeros(4, 4), seconds(0, 1, 2, 3), r"expected \[T, H, W\] and \[T\]"),
        (torch.zeros(1, 0, 4), seconds(0), "H and W of at least 1"),
        (label_maps([[2]]), seconds(0), "outside 0 to 1"),
        (GROWING, seconds(0, 2, 1), "must not decrease"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(maps: Tensor, times: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scene_statistics(maps, times, LABELS)
