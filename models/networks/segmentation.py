"""A mode's network with its weights, from camera pixels to class probabilities.

Both runtimes start from this one module, so what is tested here is what they
run. Weights are data, never code: safetensors only, checked against the
catalogue's SHA-256 before they are parsed, and matched key by key.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from models.catalog import Channels, ModeSpec

WEIGHTS = Path(__file__).parents[1] / "weights"


class WeightsError(RuntimeError):
    """The weights of a mode are missing, damaged or of another network."""


class SegmentationNetwork(nn.Module):
    """uint8 RGB frames ``[B, H, W, 3]`` to float32 probabilities ``[B, C, H, W]``.

    C is 1 for a mode of two classes (the foreground, by sigmoid) and the number of
    classes otherwise (by softmax). H and W are the mode's input size. The mean and
    deviation follow the module's precision, the probabilities are float32 always.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, logits: nn.Module, mean: Channels, std: Channels, classes: int) -> None:
        super().__init__()
        self.logits = logits
        self.binary = classes == 2
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        x = (frames.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        logits = self.logits(x).float()
        return torch.sigmoid(logits) if self.binary else torch.softmax(logits, dim=1)


def load(spec: ModeSpec, directory: Path = WEIGHTS) -> SegmentationNetwork:
    """The mode's network in float32 on the CPU, in evaluation mode, without gradients.

    Raises:
        WeightsError: the file is missing, differs from the catalogue's SHA-256, or
            holds other parameters than the network has.
    """
    weights = parse_safetensors(read_weights(spec, directory))
    with torch.device("meta"):  # no memory and no random initialisation before the real weights
        logits = network_class(spec)()
    try:
        logits.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{spec.weights} does not fit the network of {spec.name!r}: {error}"
        ) from error
    network = SegmentationNetwork(logits, spec.mean, spec.std, len(spec.labels))
    return network.eval().requires_grad_(False)


def read_weights(spec: ModeSpec, directory: Path) -> bytes:
    """The bytes of the mode's weight file, known to be those of the catalogue.

    Raises:
        WeightsError: the file is missing or differs.
    """
    try:
        content = (directory / spec.weights).read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(
            f"the weights of mode {spec.name!r} are missing: expected {spec.weights} "
            "in models/weights; reinstall the package"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != spec.sha256:
        raise WeightsError(
            f"the weights of mode {spec.name!r} are damaged: {spec.weights} has SHA-256 {digest}, "
            f"the catalogue says {spec.sha256}; reinstall the package"
        )
    return content


def network_class(spec: ModeSpec) -> type[nn.Module]:
    """The class that ``spec.network`` names, imported now."""
    module, name = spec.network.split(":")
    found: type[nn.Module] = getattr(import_module(module), name)
    return found
