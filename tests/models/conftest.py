"""Reference outputs: what the runtimes that the weights came from made of one picture.

The picture is the portrait of the astronaut Eileen Collins (NASA, public domain),
resized to each network's input: LiteRT for the MediaPipe models, ONNX Runtime for U^2-Net.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.catalog import ModeSpec

VECTORS = Path(__file__).with_name("vectors")

Reference = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""A frame ``[1, H, W, 3]`` and its probabilities ``[1, C, H, W]``."""


@pytest.fixture
def reference() -> Callable[[ModeSpec], Reference]:
    return read_reference


def read_reference(spec: ModeSpec) -> Reference:
    """The recorded multiclass outputs are logits, the others probabilities."""
    with np.load(VECTORS / f"{spec.weights.split('.')[0]}.npz") as recorded:
        frame, output = recorded["input"], recorded["output"]
    if output.ndim == 2:
        return frame[None], output[None, None]
    exponentials = np.exp(output - output.max(axis=0))
    return frame[None], (exponentials / exponentials.sum(axis=0))[None]
