"""Pictures from probabilities: what a view shows of one frame.

Rules:

1. Probabilities travel at the network's resolution and are enlarged once, bilinearly.
   An edge is the probability's own slope, never a label map's staircase.
2. What a style does to a pixel is ``frame * gain + offset``. Gain and offset are sums
   over classes, so they are made where the network is small and enlarged as uint8
   [h,w,3]: the cost at full size does not depend on the number of classes, and no
   float array of the frame's size exists (0.9 ms at 640 x 480, against 1.2 ms for
   ``cv2.blendLinear`` alone).
3. A mask needs one label per pixel: the class that is most probable after enlarging.
4. A class that the filter hides is background, in every style and output.

Frames are uint8 [H,W,3] RGB, probabilities float32 [n,h,w] with class 0 the background,
sizes (height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from models.catalog import RGB
from models.pictures.images import Pixels, Size, as_pixels, fitted, resized, stretched
from models.pictures.label_map import Probabilities, as_levels, class_count, label_map
from models.pictures.palette import palette
from models.view import Output, View, VisualizationMode

CUTOUT_BACKGROUND = (0, 0, 0)  # where the format has no transparency
REPLACE_BACKGROUND = (0, 177, 64)  # chroma green
BLUR_RADIUS = 12  # pixels of a frame REFERENCE_WIDTH wide
CONTOUR_WIDTH = 2  # likewise
REFERENCE_WIDTH = 640


@dataclass(frozen=True)
class Scene:
    """One segmented frame and how it is wanted.

    Attributes:
        frame: uint8 [H,W,3] RGB; read by overlays only, which need it at ``size``.
        size: of the picture, or of each of two pictures side by side.
        planes: float32 [C,h,w] as a network gives them: of two classes the foreground alone.
        palette: the mode's colours, one per class.
    """

    frame: Pixels
    size: Size
    planes: Probabilities
    palette: tuple[RGB, ...]
    view: View

    @cached_property
    def probabilities(self) -> Probabilities:
        """float32 [n,h,w], class 0 first; a mask of two classes never asks for them."""
        return with_background(self.planes)

    @property
    def shown(self) -> list[int]:
        """The class ids that the view shows, ascending."""
        classes = range(class_count(self.planes))
        chosen = self.view.class_filter
        return [c for c in classes if (c > 0 if chosen is None else c in chosen)]

    @property
    def colours(self) -> NDArray[np.float32]:
        """Colour of each class, float32 [n,3] RGB on 0..255."""
        return np.asarray(palette(self.palette, self.view.colormap), np.float32)

    @property
    def matte(self) -> Probabilities:
        """How much of each pixel is shown, float32 [h,w] on 0..1."""
        shown: Probabilities = self.probabilities[self.shown].sum(axis=0)
        return shown


def with_background(planes: Probabilities) -> Probabilities:
    """A network's output [C,h,w] as [n,h,w]: one foreground plane gets its complement."""
    if len(planes) > 1:
        return planes
    return np.concatenate((1 - planes, planes))


def panel_size(view: View, frame: Size) -> Size:
    """Size at which a frame of size ``frame`` is drawn so that the payload obeys ``max_side``.

    Output ``none`` has no payload and reports the frame's own size.
    """
    if view.output == "none":
        return frame
    height, width = frame
    columns = 2 if view.output == "overlay" and view.visualization_mode == "side-by-side" else 1
    fit_height, fit_width = fitted((height, width * columns), view.max_side)
    return fit_height, max(1, fit_width // columns)


def render(scene: Scene) -> Pixels:
    """What the view's output carries, before encoding.

    An overlay is uint8 [H,W,3] RGB or [H,W,4] RGBA, a mask a label map uint8 [H,W], an
    alpha a matte uint8 [H,W]. Output ``none`` draws nothing and hands the frame on.
    """
    return OUTPUTS[scene.view.output](scene)


def _overlay(scene: Scene) -> Pixels:
    return STYLES[scene.view.visualization_mode](scene)


def _mask(scene: Scene) -> Pixels:
    labels = label_map(scene.planes, scene.size)
    hidden = [c for c in range(1, class_count(scene.planes)) if c not in scene.shown]
    for c in hidden:
        labels[labels == c] = 0
    return labels


def _alpha(scene: Scene) -> Pixels:
    return resized(as_levels(scene.matte), scene.size)


def _filled(scene: Scene) -> Pixels:
    """Class colours over the shown classes, weighted by opacity and probability."""
    opacity = scene.view.overlay_opacity
    offset = _layer(opacity * scene.colours[scene.shown], scene.probabilities[scene.shown])
    return _affine(scene, _grey(1 - opacity * scene.matte), offset)


def _contour(scene: Scene) -> Pixels:
    """The outline of each shown class in its colour, weighted by opacity."""
    labels = _mask(scene)
    lines = scene.frame.copy()
    width = max(1, round(CONTOUR_WIDTH * _scale(scene)))
    for c in scene.shown:
        region = np.equal(labels, c).view(np.uint8)
        outlines, _ = cv2.findContours(region, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(lines, outlines, -1, scene.colours[c].tolist(), width, cv2.LINE_AA)
    return _mixed(scene.frame, lines, scene.view.overlay_opacity)


def _blend(scene: Scene) -> Pixels:
    """The whole frame mixed with the picture of its classes, the background included."""
    front = [c for c in scene.shown if c]
    behind = 1 - scene.probabilities[front].sum(axis=0, keepdims=True)
    layer = _layer(scene.colours[[*front, 0]], np.concatenate((scene.probabilities[front], behind)))
    return _mixed(scene.frame, resized(layer, scene.size), scene.view.overlay_opacity)


def _side_by_side(scene: Scene) -> Pixels:
    """The frame on the left, the filled overlay on the right."""
    return np.hstack((scene.frame, _filled(scene)))


def _cutout(scene: Scene) -> Pixels:
    """The shown classes alone: on the view's colour, or transparent where the format can be."""
    if isinstance(scene.view.background, str) or scene.view.format == "jpeg":
        return _over_colour(scene, CUTOUT_BACKGROUND)
    return np.dstack((scene.frame, _alpha(scene)))


def _replace(scene: Scene) -> Pixels:
    """The shown classes on a plain colour."""
    return _over_colour(scene, REPLACE_BACKGROUND)


def _blur(scene: Scene) -> Pixels:
    """The shown classes sharp, everything else out of focus."""
    wanted = scene.view.background
    radius = (wanted if isinstance(wanted, int) else BLUR_RADIUS) * _scale(scene)
    gain = resized(_grey(scene.matte), scene.size)
    behind = _blurred_background(scene, radius)
    return _added(
        cv2.multiply(scene.frame, gain, scale=1 / 255),
        cv2.multiply(behind, cv2.bitwise_not(gain), scale=1 / 255),
    )


STYLES: Mapping[VisualizationMode, Callable[[Scene], Pixels]] = MappingProxyType(
    {
        "filled": _filled,
        "contour": _contour,
        "side-by-side": _side_by_side,
        "blend": _blend,
        "cutout": _cutout,
        "blur": _blur,
        "replace": _replace,
    }
)

OUTPUTS: Mapping[Output, Callable[[Scene], Pixels]] = MappingProxyType(
    {"overlay": _overlay, "mask": _mask, "alpha": _alpha, "none": lambda scene: scene.frame}
)


def _over_colour(scene: Scene, default: RGB) -> Pixels:
    wanted = scene.view.background
    colour = tuple(bytes.fromhex(wanted[1:])) if isinstance(wanted, str) else default
    hidden = 1 - scene.matte
    offset = _layer(np.asarray([colour], np.float32), hidden[np.newaxis])
    return _affine(scene, _grey(scene.matte), offset)


def _blurred_background(scene: Scene, radius: float) -> Pixels:
    """The frame blurred by ``radius`` pixels, uint8 [H,W,3], shown classes left out.

    Weighting by what is hidden before the blur, and dividing by the blurred weight after
    it, keeps the shown classes from bleeding into a halo. Blurring a frame shrunk by up
    to half the radius looks the same at a fraction of the cost.
    """
    shrink = min(8, 2 ** max(0, int(np.log2(max(radius, 1))) - 1))
    height, width = (max(1, side // shrink) for side in scene.size)
    small = stretched(scene.frame, (height, width))
    weight = 1 - resized(as_levels(scene.matte), (height, width)).astype(np.float32) / 256
    sigma = radius / (2 * shrink)
    total = cv2.GaussianBlur(small * weight[..., np.newaxis], (0, 0), sigma)
    blurred = np.divide(total, cv2.GaussianBlur(weight, (0, 0), sigma)[..., np.newaxis])
    return resized(as_pixels(cv2.convertScaleAbs(blurred)), scene.size)


def _layer(colours: NDArray[np.float32], weights: Probabilities) -> Pixels:
    """Colours [k,3] summed by weights [k,h,w]: uint8 [h,w,3] at the network's resolution."""
    count, height, width = weights.shape
    planes = np.dot(colours.T, weights.reshape(count, height * width))
    return as_pixels(cv2.convertScaleAbs(cv2.merge([*planes.reshape(3, height, width)])))


def _grey(weights: Probabilities) -> Pixels:
    """Weights [h,w] on 0..1 as uint8 [h,w,3]."""
    return as_pixels(cv2.cvtColor(as_levels(weights), cv2.COLOR_GRAY2RGB))


def _affine(scene: Scene, gain: Pixels, offset: Pixels) -> Pixels:
    """``frame * gain / 255 + offset``; gain and offset at the network's resolution."""
    scaled = cv2.multiply(scene.frame, resized(gain, scene.size), scale=1 / 255)
    return _added(scaled, resized(offset, scene.size))


def _added(first: MatLike, second: MatLike) -> Pixels:
    return as_pixels(cv2.add(first, second))


def _mixed(frame: Pixels, layer: Pixels, opacity: float) -> Pixels:
    return as_pixels(cv2.addWeighted(frame, 1 - opacity, layer, opacity, 0))


def _scale(scene: Scene) -> float:
    return scene.size[1] / REFERENCE_WIDTH
