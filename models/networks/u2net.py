"""U^2-Net (small): the salient object of a picture, one logit per pixel.

A U-Net whose every stage is itself a small U-Net with a residual connection
around it. Six encoder stages and five decoder stages each predict a saliency
map; a 1x1 convolution fuses the six maps (the deepest encoder stage and the
decoder stages). 1,125,485 parameters, batch normalisation folded.

Source: Qin et al. 2020, "U^2-Net: Going Deeper with Nested U-Structure for
Salient Object Detection", model u2netp, trained on DUTS-TR (Apache-2.0).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTER = 64  # channels between stages
INNER = 16  # channels inside a stage


class RectifiedConv2d(nn.Conv2d):
    """3x3 convolution and ReLU that keep the size: ``[B, I, H, W]`` to ``[B, O, H, W]``."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class ResidualUBlock(nn.Module):
    """RSU-``depth``: a U-Net with ``depth - 2`` poolings, added to its own input features.

    ``[B, I, H, W]`` to ``[B, OUTER, H, W]``; H and W are multiples of ``2 ** (depth - 2)``.
    The deepest convolution is dilated instead of pooled.
    """

    def __init__(self, depth: int, in_channels: int) -> None:
        super().__init__()
        inner = depth - 2
        self.enter = RectifiedConv2d(in_channels, OUTER)
        self.encoder = nn.ModuleList(
            [RectifiedConv2d(OUTER, INNER), *(RectifiedConv2d(INNER, INNER) for _ in range(inner))]
        )
        self.bottom = RectifiedConv2d(INNER, INNER, dilation=2)
        self.decoder = nn.ModuleList(
            [
                *(RectifiedConv2d(2 * INNER, INNER) for _ in range(inner)),
                RectifiedConv2d(2 * INNER, OUTER),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        entered: Tensor = self.enter(x)
        skips = [self.encoder[0](entered)]
        for stage in self.encoder[1:]:
            skips.append(stage(halve(skips[-1])))
        y: Tensor = self.decoder[0](torch.cat([self.bottom(skips[-1]), skips[-1]], dim=1))
        for stage, skip in zip(self.decoder[1:], reversed(skips[:-1]), strict=True):
            y = stage(torch.cat([enlarge(y), skip], dim=1))
        return entered + y


class DilatedResidualUBlock(nn.Module):
    """RSU-4F: the same block for coarse features, dilated where the other pools.

    ``[B, I, H, W]`` to ``[B, OUTER, H, W]``, any H and W.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.enter = RectifiedConv2d(in_channels, OUTER)
        self.encoder = nn.ModuleList(
            [
                RectifiedConv2d(OUTER, INNER),
                RectifiedConv2d(INNER, INNER, dilation=2),
                RectifiedConv2d(INNER, INNER, dilation=4),
            ]
        )
        self.bottom = RectifiedConv2d(INNER, INNER, dilation=8)
        self.decoder = nn.ModuleList(
            [
                RectifiedConv2d(2 * INNER, INNER, dilation=4),
                RectifiedConv2d(2 * INNER, INNER, dilation=2),
                RectifiedConv2d(2 * INNER, OUTER),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        entered: Tensor = self.enter(x)
        skips = [self.encoder[0](entered)]
        for stage in self.encoder[1:]:
            skips.append(stage(skips[-1]))
        y: Tensor = self.bottom(skips[-1])
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            y = stage(torch.cat([y, skip], dim=1))
        return entered + y


class U2NetSmall(nn.Module):
    """``[B, 3, H, W]`` RGB, ImageNet mean and deviation, to saliency logits ``[B, 1, H, W]``.

    H and W are multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            [
                ResidualUBlock(7, 3),
                ResidualUBlock(6, OUTER),
                ResidualUBlock(5, OUTER),
                ResidualUBlock(4, OUTER),
                DilatedResidualUBlock(OUTER),
                DilatedResidualUBlock(OUTER),
            ]
        )
        self.decoder = nn.ModuleList(
            [
                DilatedResidualUBlock(2 * OUTER),
                ResidualUBlock(4, 2 * OUTER),
                ResidualUBlock(5, 2 * OUTER),
                ResidualUBlock(6, 2 * OUTER),
                ResidualUBlock(7, 2 * OUTER),
            ]
        )
        self.side = nn.ModuleList(nn.Conv2d(OUTER, 1, 3, padding=1) for _ in range(6))
        self.fuse = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.encoder[0](x)]
        for stage in self.encoder[1:]:
            skips.append(stage(halve(skips[-1])))
        decoded = [skips.pop()]
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            decoded.append(stage(torch.cat([enlarge(decoded[-1]), skip], dim=1)))
        # Side maps run from the finest (side 0) to the coarsest, 1/32 of the frame.
        maps = [side(y) for side, y in zip(self.side, reversed(decoded), strict=True)]
        logits: Tensor = self.fuse(torch.cat([enlarge(m, 2**i) for i, m in enumerate(maps)], dim=1))
        return logits


def halve(x: Tensor) -> Tensor:
    """2x2 maximum: ``[B, C, H, W]`` to ``[B, C, H/2, W/2]``."""
    return F.max_pool2d(x, kernel_size=2, stride=2)


def enlarge(x: Tensor, factor: int = 2) -> Tensor:
    """Bilinear enlargement by a whole factor; 1 returns ``x`` itself."""
    return x if factor == 1 else F.interpolate(x, scale_factor=float(factor), mode="bilinear")
