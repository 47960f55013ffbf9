"""MediaPipe Selfie Segmentation: one foreground logit per pixel.

A MobileNetV3 encoder down to 1/16 of the frame, a lite reduced ASPP head for
context, and a decoder that climbs back by factors of two, each step letting the
encoder's features of that resolution in through channel attention. 106,401
parameters. The ``general`` and ``landscape`` weights fit the same module; only
the height of the frame differs (256x256 and 144x256).

Source: Google MediaPipe, ``selfie_segmentation.tflite`` and
``selfie_segmentation_landscape.tflite`` (Apache-2.0). The expected values of
``tests/models/vectors`` come from the original graph.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.layers import InvertedResidual, SameConv2d, SqueezeExcite, depthwise


class LiteReducedAspp(nn.Module):
    """Features gated by their global context: ``[B, I, H, W]`` to ``[B, O, H, W]``.

    Source: Howard et al. 2019 (MobileNetV3), section 6.4.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.features = SameConv2d(in_channels, out_channels)
        self.gate = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return F.relu(self.features(x)) * gate


class DecoderStep(nn.Module):
    """Double the resolution and fuse the encoder's features of that resolution.

    ``x`` is ``[B, I, H, W]``, ``skip`` is ``[B, O, 2H, 2W]``; returns the shape of ``skip``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, out_channels, 1)
        self.attention = SqueezeExcite(out_channels, out_channels)
        self.fuse = SameConv2d(out_channels, out_channels)
        self.refine = depthwise(out_channels, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.reduce(F.interpolate(x, scale_factor=2.0, mode="bilinear"))
        fused = F.relu(self.fuse(skip * self.attention(skip + x) + x))
        return fused + F.relu(self.refine(fused))


class SelfieSegmentation(nn.Module):
    """``[B, 3, H, W]`` RGB in 0..1 to foreground logits ``[B, 1, H, W]``.

    H and W are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 16, 3, stride=2)
        self.quarter = InvertedResidual(16, 16, 16, stride=2, squeezed=8)
        self.eighth = nn.Sequential(
            InvertedResidual(16, 72, 24, stride=2),
            InvertedResidual(24, 88, 24),
        )
        self.sixteenth = nn.Sequential(
            _wide(24, 96, stride=2, squeezed=24),
            _wide(32, 128, squeezed=32),
            _wide(32, 128, squeezed=32),
            _wide(32, 96, squeezed=24),
            _wide(32, 96, squeezed=24),
        )
        self.context = LiteReducedAspp(32, 128)
        self.to_eighth = DecoderStep(128, 24)
        self.to_quarter = DecoderStep(24, 16)
        self.to_half = DecoderStep(16, 16)
        self.classify = nn.ConvTranspose2d(16, 1, kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        half = F.hardswish(self.stem(x))
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        y = self.context(self.sixteenth(eighth))
        y = self.to_half(self.to_quarter(self.to_eighth(y, eighth), quarter), half)
        logits: Tensor = self.classify(y)
        return logits


def _wide(in_channels: int, expanded: int, *, stride: int = 1, squeezed: int) -> InvertedResidual:
    """A block of the deepest stage: 5x5 filters, hard swish, 32 channels out."""
    return InvertedResidual(
        in_channels,
        expanded,
        32,
        kernel_size=5,
        stride=stride,
        squeezed=squeezed,
        activation=F.hardswish,
    )
