"""What each style does to a pixel, told on a scene whose left half is class 1."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from models.pictures.images import Pixels
from models.pictures.label_map import Probabilities
from models.pictures.palette import palette
from models.pictures.render import (
    OUTPUTS,
    STYLES,
    Scene,
    panel_size,
    render,
    with_background,
)
from models.view import Output, View, VisualizationMode

SIZE = (60, 80)
FRAME = np.full((*SIZE, 3), (200, 100, 50), np.uint8)
PALETTE = ((10, 20, 30), (0, 0, 250), (0, 250, 0))
# Far from the edge at column 40.
LEFT, RIGHT = (30, 8), (30, 71)


def halves(left: int = 1, right: int = 0, classes: int = 2) -> Probabilities:
    """float32 [classes,15,20]: class ``left`` certain on the left, ``right`` on the right."""
    planes = np.zeros((classes, 15, 20), np.float32)
    planes[left, :, :10] = 1
    planes[right, :, 10:] = 1
    return planes


def drawn(probabilities: Probabilities | None = None, **settings: Any) -> Pixels:
    given = halves() if probabilities is None else probabilities
    colours = PALETTE[: len(given)]
    return render(Scene(FRAME, SIZE, given, colours, View.model_validate(settings)))


def close(pixel: Any, expected: tuple[int, ...], tolerance: int = 2) -> bool:
    return bool((np.abs(np.asarray(pixel, int) - expected) <= tolerance).all())


def test_every_style_and_output_of_the_view_has_its_function() -> None:
    assert set(STYLES) == set(get_args(VisualizationMode))
    assert set(OUTPUTS) == set(get_args(Output))


@pytest.mark.parametrize("style", STYLES)
def test_no_style_writes_into_the_frame(style: str) -> None:
    before = FRAME.copy()
    drawn(visualization_mode=style)
    assert (before == FRAME).all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("chosen", [[], [0], [0, 1], [1, 2]])
def test_every_style_takes_every_filter(style: str, chosen: list[int]) -> None:
    picture = drawn(halves(1, 2, classes=3), visualization_mode=style, class_filter=chosen)
    assert picture.dtype == np.uint8


def test_filled_weights_the_class_colour_by_opacity() -> None:
    picture = drawn(overlay_opacity=0.6)
    assert close(picture[LEFT], (80, 40, 170))
    assert close(picture[RIGHT], (200, 100, 50))


def test_filled_gives_each_class_its_own_colour() -> None:
    picture = drawn(halves(1, 2, classes=3), overlay_opacity=1.0)
    assert close(picture[LEFT], PALETTE[1])
    assert close(picture[RIGHT], PALETTE[2])


def test_an_edge_is_a_slope_and_not_a_staircase() -> None:
    row = drawn(overlay_opacity=1.0)[30, :, 2].astype(int)
    assert (np.diff(row) <= 0).all()
    assert len(set(row.tolist())) > 3


def test_contour_draws_on_the_edge_alone() -> None:
    picture = drawn(visualization_mode="contour", overlay_opacity=1.0)
    assert close(picture[LEFT], (200, 100, 50), 0)
    assert close(picture[RIGHT], (200, 100, 50), 0)
    assert (np.abs(picture[30, 36:44].astype(int) - PALETTE[1]).sum(axis=1) < 60).any()


def test_side_by_side_has_the_frame_on_the_left() -> None:
    picture = drawn(visualization_mode="side-by-side")
    assert picture.shape == (60, 160, 3)
    assert (picture[:, :80] == FRAME).all()
    assert (picture[:, 80:] == drawn(visualization_mode="filled")).all()


def test_blend_mixes_the_background_colour_too() -> None:
    picture = drawn(visualization_mode="blend", overlay_opacity=0.5)
    assert close(picture[LEFT], (100, 50, 150))
    assert close(picture[RIGHT], (105, 60, 40))


def test_cutout_is_transparent_where_the_format_can_be() -> None:
    picture = drawn(visualization_mode="cutout", format="png")
    assert tuple(picture[LEFT]) == (200, 100, 50, 255)
    assert picture[RIGHT][3] == 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"visualization_mode": "cutout"}, (0, 0, 0)),
        (
            {"visualization_mode": "cutout", "format": "webp", "background": "#0a6480"},
            (10, 100, 128),
        ),
        ({"visualization_mode": "replace"}, (0, 177, 64)),
        ({"visualization_mode": "replace", "background": "#0a6480"}, (10, 100, 128)),
        ({"visualization_mode": "replace", "background": 9}, (0, 177, 64)),
    ],
    ids=str,
)
def test_what_is_hidden_becomes_the_background(
    settings: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    picture = drawn(**settings)
    assert close(picture[LEFT], (200, 100, 50))
    assert close(picture[RIGHT], expected)


def noisy_scene(size: tuple[int, int], **settings: Any) -> Scene:
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    view = View(visualization_mode="blur", **settings)
    return Scene(noise, size, halves(), PALETTE[:2], view)


def detail(pixels: NDArray[Any]) -> float:
    return float(pixels.astype(float).std())


@pytest.mark.parametrize("radius", [1, 3, 12, 100, None])
def test_blur_softens_the_background_and_spares_the_rest(radius: int | None) -> None:
    scene = noisy_scene((480, 640), background=radius)
    picture = render(scene)
    assert (picture[:, :280] == scene.frame[:, :280]).all()
    assert detail(picture[:, 360:]) < detail(scene.frame[:, 360:])


def test_a_larger_radius_blurs_more() -> None:
    soft, softer = (render(noisy_scene((480, 640), background=r))[:, 400:] for r in (4, 30))
    assert detail(softer) < detail(soft)


def test_the_blur_of_the_background_takes_no_light_from_the_foreground() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, :300] = 255
    view = View(visualization_mode="blur", background=100)
    picture = render(Scene(frame, (480, 640), halves(), PALETTE[:2], view))
    assert picture[:, 345:].max() < 30


def test_a_mask_has_one_class_per_pixel() -> None:
    mask = drawn(halves(1, 2, classes=3), output="mask")
    assert mask.shape == SIZE
    assert (mask[LEFT], mask[RIGHT]) == (1, 2)


def test_a_class_that_the_filter_hides_is_background_in_a_mask() -> None:
    mask = drawn(halves(1, 2, classes=3), output="mask", class_filter=[2])
    assert (mask[LEFT], mask[RIGHT]) == (0, 2)


def test_a_class_that_the_filter_hides_is_not_filled() -> None:
    picture = drawn(halves(1, 2, classes=3), class_filter=[2], overlay_opacity=1.0)
    assert close(picture[LEFT], (200, 100, 50))
    assert close(picture[RIGHT], PALETTE[2])


def test_the_background_is_shown_where_the_filter_names_it() -> None:
    picture = drawn(class_filter=[0], overlay_opacity=1.0)
    assert close(picture[RIGHT], PALETTE[0])


@pytest.mark.parametrize(("chosen", "left", "right"), [(None, 255, 0), ([0], 0, 255), ([], 0, 0)])
def test_a_matte_is_white_where_the_frame_shows(
    chosen: list[int] | None, left: int, right: int
) -> None:
    matte = drawn(output="alpha", class_filter=chosen)
    assert (matte[LEFT], matte[RIGHT]) == (left, right)


def test_one_foreground_plane_gets_its_complement() -> None:
    both = with_background(np.full((1, 2, 2), 0.25, np.float32))
    assert both[:, 0, 0].tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("settings", "frame", "expected"),
    [
        ({}, (480, 640), (480, 640)),
        ({"max_side": 320}, (480, 640), (240, 320)),
        ({"max_side": 320, "output": "mask"}, (640, 480), (320, 240)),
        ({"max_side": 320, "output": "none"}, (480, 640), (480, 640)),
        ({"max_side": 320, "visualization_mode": "side-by-side"}, (480, 640), (120, 160)),
        (
            {"max_side": 320, "visualization_mode": "side-by-side", "output": "mask"},
            (480, 640),
            (240, 320),
        ),
    ],
    ids=str,
)
def test_the_payload_obeys_max_side(
    settings: dict[str, Any], frame: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert panel_size(View(**settings), frame) == expected


def test_a_colormap_colours_the_overlay() -> None:
    colour = palette(PALETTE[:2], "turbo")[1]
    assert close(drawn(colormap="turbo", overlay_opacity=1.0)[LEFT], colour)
