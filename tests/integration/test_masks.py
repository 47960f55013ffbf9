"""Masks that come over the wire are those of the networks' own runtimes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ingress.wire.replies import ModeChanged
from models.catalog import MODES, ModeSpec
from models.networks.segmentation import load
from models.pictures.images import stretched
from tests.integration.pictures import Pixels, astronaut, decoded, iou, moving, png
from tests.integration.v1_client import V1Client, v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

VECTORS = Path(__file__).resolve().parents[1] / "models" / "vectors"
ENOUGH = 0.98


def label_map(probabilities: NDArray[np.float32], size: tuple[int, int]) -> Pixels:
    """float32 [C,h,w] to uint8 [H,W]: each plane enlarged smoothly, then the most likely class."""
    planes = [cv2.resize(plane, size[::-1]) for plane in probabilities]
    if len(planes) == 1:
        labels: Pixels = np.greater(planes[0], 0.5).astype(np.uint8)
    else:
        labels = np.argmax(np.stack(planes), axis=0).astype(np.uint8)
    return labels


def likeness(mask: Pixels, reference: Pixels) -> float:
    """The least IoU over the classes that either shows on at least 1 % of the frame."""
    both = np.stack([mask, reference])
    shown = [c for c in np.unique(both) if (both == c).mean(axis=(1, 2)).max() >= 0.01]
    return min(iou(mask == c, reference == c) for c in shown)


def reference_mask(spec: ModeSpec, picture: Pixels) -> Pixels:
    """The mask of the float32 torch network, computed here."""
    frames = torch.from_numpy(stretched(picture, spec.input_size)[None].copy())
    with torch.inference_mode():
        probabilities = load(spec)(frames)[0].numpy()
    return label_map(probabilities, (picture.shape[0], picture.shape[1]))


async def switch(client: V1Client, mode: str) -> None:
    await client.say(f'{{"type":"change_mode","model_mode":"{mode}"}}')
    await client.until(ModeChanged)


VECTOR_OF = {
    "person": "selfie_general",
    "person-wide": "selfie_landscape",
    "parts": "selfie_multiclass",
    "salient": "u2netp",
}


@pytest.mark.parametrize("mode", MODES)
async def test_the_portraits_mask_is_that_of_the_original_runtime(
    server: ServeApp, mode: str
) -> None:
    vector = np.load(VECTORS / f"{VECTOR_OF[mode]}.npz")
    output = np.asarray(vector["output"], np.float32).reshape(-1, *MODES[mode].input_size)
    picture = astronaut()
    async with v1(server.ws) as client:
        await switch(client, mode)
        result = await client.mask(png(picture))
    assert result.meta.mode == mode
    assert likeness(decoded(result.payload), label_map(output, picture.shape[:2])) >= ENOUGH


@pytest.mark.parametrize("mode", MODES)
async def test_masks_of_moving_frames_are_those_of_the_network(server: ServeApp, mode: str) -> None:
    async with v1(server.ws) as client:
        await switch(client, mode)
        for picture in moving(4):
            result = await client.mask(png(picture))
            reference = reference_mask(MODES[mode], picture)
            assert likeness(decoded(result.payload), reference) >= ENOUGH
