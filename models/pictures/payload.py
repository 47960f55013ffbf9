"""The payload of a result: the picture that was rendered, in the encoding of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.pictures.images import Encoded, Pixels, encode_mask, encode_matte, encode_picture
from models.pictures.palette import palette
from models.pictures.render import Scene
from models.view import Output


def encoded(picture: Pixels, scene: Scene) -> Encoded:
    """What ``render`` made of ``scene``, as bytes; none for output ``none``."""
    return ENCODERS[scene.view.output](picture, scene)


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
