"""The payload of a result: the picture that was rendered, in the encoding of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.pictures.images import Encoded, Pixels, Size, encode_mask, encode_matte, encode_picture
from models.pictures.limits import ResultTooLarge
from models.pictures.palette import palette
from models.pictures.render import Scene
from models.view import Output, View

# A picture that is stored without loss is seldom a quarter of its pixels, never a camera's.
_SHRINKS = 4


def encoded(picture: Pixels, scene: Scene, max_bytes: int) -> Encoded:
    """What ``render`` made of ``scene``, as bytes; none for output ``none``.

    Raises:
        ResultTooLarge: they would be more than ``max_bytes``, or are.
    """
    payload = ENCODERS[scene.view.output](picture, scene)
    if len(payload.data) > max_bytes:
        raise _too_large(f"{len(payload.data):,} bytes", max_bytes)
    return payload


def foresee(view: View, panel: Size, max_bytes: int) -> None:
    """Refuse, before it is drawn, a lossless overlay that is certain to be too large.

    ``panel``: of the picture, or of each of two side by side. A JPEG, a lossy WebP and a mask
    are known when they are encoded.

    Raises:
        ResultTooLarge: see ``encoded``.
    """
    if view.output != "overlay" or view.format != "png":
        return
    columns = 2 if view.visualization_mode == "side-by-side" else 1
    pixels = columns * panel[0] * panel[1]
    if 3 * pixels > _SHRINKS * max_bytes:
        raise _too_large(f"a PNG of {pixels:,} pixels", max_bytes)


def _too_large(what: str, max_bytes: int) -> ResultTooLarge:
    return ResultTooLarge(
        f"the result is too large: {what}; at most {max_bytes:,} bytes are sent: set max_side, "
        "or take format jpeg"
    )


def _encode_overlay(picture: Pixels, scene: Scene) -> Encoded:
    return encode_picture(picture, scene.view.format, scene.view.quality)


def _encode_mask(picture: Pixels, scene: Scene) -> Encoded:
    return encode_mask(picture, palette(scene.palette, scene.view.colormap))


def _encode_alpha(picture: Pixels, scene: Scene) -> Encoded:
    return encode_matte(picture, scene.view.format, scene.view.quality)


def _encode_none(_: Pixels, scene: Scene) -> Encoded:
    height, width = scene.size
    return Encoded(b"", "", width, height)


ENCODERS: Mapping[Output, Callable[[Pixels, Scene], Encoded]] = MappingProxyType(
    {
        "overlay": _encode_overlay,
        "mask": _encode_mask,
        "alpha": _encode_alpha,
        "none": _encode_none,
    }
)
