import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.catalog import MODES, ModeSpec
from models.networks import segmentation

Reference = Callable[[ModeSpec], tuple[NDArray[np.uint8], NDArray[np.float32]]]

each_mode = pytest.mark.parametrize("spec", MODES.values(), ids=list(MODES))


@each_mode
def test_probabilities_equal_those_of_the_original_runtime(
    spec: ModeSpec, reference: Reference
) -> None:
    frame, expected = reference(spec)
    with torch.inference_mode():
        probabilities = segmentation.load(spec)(torch.from_numpy(frame))
    np.testing.assert_allclose(probabilities.numpy(), expected, rtol=0, atol=1e-4)


@each_mode
def test_frames_of_a_batch_do_not_touch_each_other(spec: ModeSpec, reference: Reference) -> None:
    frame = torch.from_numpy(reference(spec)[0])
    frames = torch.cat([frame, frame.flip(2), 255 - frame])
    model = segmentation.load(spec)
    with torch.inference_mode():
        together = model(frames)
        apart = torch.cat([model(frames[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-4)  # kernels differ by batch size
    assert not torch.allclose(together[0], together[2], atol=1e-2)


@each_mode
def test_a_network_is_ready_to_infer_and_nothing_else(spec: ModeSpec) -> None:
    model = segmentation.load(spec)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}


def test_class_probabilities_add_up_to_one() -> None:
    frames = torch.randint(0, 256, (1, 256, 256, 3), dtype=torch.uint8)
    with torch.inference_mode():
        probabilities = segmentation.load(MODES["parts"])(frames)
    assert probabilities.shape == (1, 6, 256, 256)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 256, 256))


def test_pixels_are_normalised_channel_by_channel() -> None:
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x[:, :1]

    model = segmentation.SegmentationNetwork(Spy(), (0.0, 10.0, 20.0), (1.0, 2.0, 4.0), classes=2)
    model(torch.full((1, 2, 3, 3), 20, dtype=torch.uint8))
    assert seen[0].shape == (1, 3, 2, 3)
    assert seen[0][0, :, 0, 0].tolist() == [20.0, 5.0, 0.0]


def test_damaged_weights_are_refused_with_both_digests(tmp_path: Path) -> None:
    spec = MODES["person"]
    content = bytearray((segmentation.WEIGHTS / spec.weights).read_bytes())
    content[-1] ^= 1
    (tmp_path / spec.weights).write_bytes(content)
    with pytest.raises(segmentation.WeightsError) as raised:
        segmentation.load(spec, tmp_path)
    message = str(raised.value)
    assert "weights of mode 'person' are damaged" in message
    assert spec.sha256 in message
    assert hashlib.sha256(content).hexdigest() in message
    assert str(tmp_path) not in message


def test_missing_weights_are_named_without_their_place(tmp_path: Path) -> None:
    with pytest.raises(
        segmentation.WeightsError, match="missing: expected selfie_general"
    ) as raised:
        segmentation.load(MODES["person"], tmp_path)
    assert str(tmp_path) not in str(raised.value)


def test_weights_of_another_network_are_refused() -> None:
    other = MODES["parts"]
    spec = replace(MODES["person"], weights=other.weights, sha256=other.sha256)
    with pytest.raises(segmentation.WeightsError, match="does not fit the network of 'person'"):
        segmentation.load(spec)
