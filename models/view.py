"""How a client wants to see its masks: the one description of a view.

A view is a value. It is checked where it enters (``updated``), travels with
every frame, and is read by ``models.pictures.render`` alone. Nothing here imports a
numeric library, so the connection layer may use it too.

Two questions, answered by two fields: ``output`` says what comes back (a
picture, a mask, a matte, or metadata alone); ``visualization_mode`` says how a
picture is drawn when it is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StringConstraints

VisualizationMode = Literal[
    "filled", "contour", "side-by-side", "blend", "cutout", "blur", "replace"
]
Output = Literal["overlay", "mask", "alpha", "none"]
PictureFormat = Literal["jpeg", "png", "webp"]
Colormap = Literal["catalog", "turbo", "viridis", "plasma", "rainbow", "bone"]
HexColour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
BlurRadius = Annotated[StrictInt, Field(ge=1, le=100)]
ClassId = Annotated[int, Field(ge=0, le=255)]  # label maps are uint8


def _hyphenated(value: Any) -> Any:
    """The original client wrote ``side_by_side``; both spellings name one mode."""
    return value.replace("_", "-") if isinstance(value, str) else value


class View(BaseModel):
    """The settings of ``update_viz`` in force for one session. Immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    visualization_mode: Annotated[VisualizationMode, BeforeValidator(_hyphenated)] = Field(
        "filled", description="How an overlay is drawn."
    )
    overlay_opacity: float = Field(
        0.6,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Weight of the class colour in a drawn overlay.",
    )
    class_filter: tuple[ClassId, ...] | None = Field(
        None,
        max_length=256,
        strict=False,
        description="Class ids to show; null shows every class but the background.",
    )
    output: Output = Field("overlay", description="What a result carries.")
    format: PictureFormat = Field("jpeg", description="Encoding of an overlay.")
    quality: int = Field(80, ge=1, le=100, description="Quality of a JPEG or WebP payload.")
    max_side: Annotated[int, Field(ge=16, le=8192)] | None = Field(
        None, description="Longest side of the payload in pixels; null keeps the frame's size."
    )
    colormap: Colormap = Field(
        "catalog", description="Colours of the classes: the mode's own palette or a named map."
    )
    background: HexColour | BlurRadius | None = Field(
        None,
        description=(
            "A #rrggbb colour behind `replace` and `cutout`, or the radius of `blur` in pixels "
            "of a frame 640 wide; null takes the default."
        ),
    )

    def updated(self, settings: Mapping[str, Any], class_count: int) -> View:
        """This view with ``settings`` laid over it, all of them or none.

        Raises:
            pydantic.ValidationError: a key is unknown or a value is out of range.
            UnknownClass: ``class_filter`` names a class that the mode lacks.
        """
        view = View.model_validate({**self.model_dump(), **settings})
        if "class_filter" in settings:
            view.check_classes(class_count)
        return view

    def check_classes(self, class_count: int) -> None:
        """Raise UnknownClass where ``class_filter`` names a class at or past ``class_count``."""
        unknown = sorted({c for c in self.class_filter or () if c >= class_count})
        if unknown:
            raise UnknownClass(unknown, class_count)

    def for_classes(self, class_count: int) -> View:
        """This view for a mode of ``class_count`` classes: ids it lacks leave the filter.

        A filter that would be left empty shows every class again.
        """
        if self.class_filter is None or all(c < class_count for c in self.class_filter):
            return self
        kept = tuple(c for c in self.class_filter if c < class_count)
        return self.model_copy(update={"class_filter": kept or None})


class UnknownClass(ValueError):
    """``class_filter`` names classes that the mode does not have."""

    def __init__(self, unknown: list[int], class_count: int) -> None:
        super().__init__(
            f"class_filter: no class {', '.join(map(str, unknown))}; "
            f"this mode has 0 to {class_count - 1}"
        )
