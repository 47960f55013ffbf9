"""The payload of a result: the picture that was rendered, in the encoding of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.pictures.cost import overlay_ms
from models.pictures.images import Encoded, Pixels, Size, encode_mask, encode_matte, encode_picture
from models.pictures.limits import ResultTooLarge
from models.pictures.palette import palette
from models.pictures.render import Scene
from models.view import Output, PictureFormat, View

# A picture that is stored without loss is seldom a quarter of its pixels, never a camera's.
_SHRINKS = 4
_NAMES: Mapping[PictureFormat, str] = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP"}


def encoded(picture: Pixels, scene: Scene, max_bytes: int) -> Encoded:
    """What ``render`` made of ``scene``, as bytes; none for output ``none``.

    Raises:
        ResultTooLarge: they would be more than ``max_bytes``, or are.
    """
    payload = ENCODERS[scene.view.output](picture, scene)
    if len(payload.data) > max_bytes:
        raise _too_large(f"{len(payload.data):,} bytes", f"{max_bytes:,} bytes are sent")
    return payload


def foresee(view: View, panel: Size, max_bytes: int, max_ms: float) -> None:
    """Refuse, before it is drawn, an overlay that takes too long, or is certain to be too large.

    ``panel``: of the picture, or of each of two side by side. The size of a JPEG, a lossy WebP
    or a mask is known when they are encoded.

    Raises:
        ResultTooLarge: see ``encoded``.
    """
    if view.output != "overlay":
        return
    columns = 2 if view.visualization_mode == "side-by-side" else 1
    pixels = columns * panel[0] * panel[1]
    what = f"a {_NAMES[view.format]} of {pixels:,} pixels"
    if view.format == "png" and 3 * pixels > _SHRINKS * max_bytes:
        raise _too_large(what, f"{max_bytes:,} bytes are sent")
    ms = overlay_ms(pixels, view.format)
    if ms > max_ms:
        raise _too_large(f"{what} takes {ms:.0f} ms to draw", f"{max_ms:.0f} ms are spent")


def _too_large(what: str, most: str) -> ResultTooLarge:
    return ResultTooLarge(
        f"the result is too large: {what}; at most {most}: set max_side, or take format jpeg"
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
