"""MediaPipe Selfie Multiclass: six logits per pixel, the parts of a person.

A MobileViTv2 encoder (inverted residuals, then separable self-attention at 1/8
and 1/16 of the frame), a feature pyramid whose levels are summed at half
resolution, and a depthwise-separable head. 3,524,140 parameters.

Chains that are linear end to end are stored folded: the lateral depthwise and
pointwise convolutions are one convolution, and so are the batch normalisation,
the feed-forward pair and the three projections of a transformer block.

Source: Google MediaPipe, ``selfie_multiclass_256x256.tflite`` (Apache-2.0);
Mehta and Rastegari 2022 (MobileViTv2); Lin et al. 2017 (feature pyramids).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.layers import InvertedResidual, SameConv2d, depthwise

PATCH = 4  # side of a MobileViT patch, in feature-map pixels
CLASSES = 6


class SeparableSelfAttention(nn.Module):
    """Self-attention of linear cost with its feed-forward path; ``[B, C, P, N]`` to the same.

    P counts the pixels of a patch and N the patches: a pixel attends to the
    pixels at the same place in every other patch.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.feed_key_value_query = nn.Conv2d(channels, 3 * channels + 1, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        widths = [self.channels, self.channels, self.channels, 1]
        fused: Tensor = self.feed_key_value_query(x)
        feed, key, value, query = torch.split(fused, widths, dim=1)
        context = (key * torch.softmax(query, dim=-1)).sum(dim=-1, keepdim=True)
        attended: Tensor = self.project(F.relu(value) * context)
        return x + feed + attended


class MobileVitBlock(nn.Module):
    """Local convolutions, then ``depth`` attention layers over patches; ``[B, C, H, W]`` kept.

    H and W are multiples of ``PATCH``.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.local = SameConv2d(channels, width, 3)
        self.embed = SameConv2d(width, width)
        self.attention = nn.Sequential(*(SeparableSelfAttention(width) for _ in range(depth)))
        self.project = SameConv2d(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        y = F.relu(self.embed(F.relu(self.local(x))))
        y = self.attention(unfold_patches(y))
        projected: Tensor = self.project(fold_patches(y, height, width))
        return projected


def unfold_patches(x: Tensor) -> Tensor:
    """``[B, C, H, W]`` to ``[B, C, P, N]``: pixels within a patch, patches in reading order."""
    batch, channels, height, width = x.shape
    grid = x.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return grid.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels, PATCH * PATCH, -1)


def fold_patches(x: Tensor, height: int, width: int) -> Tensor:
    """``[B, C, P, N]`` back to ``[B, C, height, width]``; undoes ``unfold_patches``."""
    batch, channels = x.shape[:2]
    grid = x.reshape(batch, channels, PATCH, PATCH, height // PATCH, width // PATCH)
    return grid.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, height, width)


class FeaturePyramid(nn.Module):
    """Merge features at 1, 1/2, 1/4, ... of the first's size into one map ``[B, O, H, W]``.

    Lateral connections bring every level to O channels; each level then receives
    the coarser one from above, is smoothed, and all are summed at the finest size.
    """

    def __init__(self, in_channels: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(SameConv2d(c, out_channels) for c in in_channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(depthwise(out_channels, 3), SameConv2d(out_channels, out_channels))
            for _ in in_channels
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        levels = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for fine in reversed(range(len(levels) - 1)):
            levels[fine] = levels[fine] + F.interpolate(levels[fine + 1], scale_factor=2.0)
        merged: Tensor = self.smooth[0](levels[0])
        for i in range(1, len(levels)):
            coarse = self.smooth[i](levels[i])
            merged = merged + F.interpolate(coarse, scale_factor=2.0**i, mode="bilinear")
        return merged


class SelfieMulticlass(nn.Module):
    """``[B, 3, H, W]`` RGB in -1..1 to class logits ``[B, 6, H, W]``.

    H and W are multiples of 64: sixteen for the encoder, times ``PATCH``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 16, 3, stride=2)
        self.quarter = nn.Sequential(
            InvertedResidual(16, 96, 64),
            InvertedResidual(64, 384, 128, stride=2),
            InvertedResidual(128, 768, 128),
        )
        self.eighth = nn.Sequential(
            InvertedResidual(128, 768, 256, stride=2),
            MobileVitBlock(256, width=128, depth=2),
        )
        self.sixteenth = nn.Sequential(
            InvertedResidual(256, 1536, 384, stride=2),
            MobileVitBlock(384, width=192, depth=4),
        )
        self.pyramid = FeaturePyramid((16, 128, 256, 384), 64)
        self.head = nn.Sequential(
            *_separable(64, 32), *(layer for _ in range(4) for layer in _separable(32, 32))
        )
        self.upsample = nn.ConvTranspose2d(32, 32, kernel_size=2, stride=2)
        self.classify = nn.Conv2d(32, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        half = F.relu(self.stem(x))
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        y = self.head(self.pyramid([half, quarter, eighth, sixteenth]))
        logits: Tensor = self.classify(self.upsample(y))
        return logits


def _separable(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """A depthwise-separable convolution, rectified after each half."""
    return depthwise(in_channels, 3), nn.ReLU(), SameConv2d(in_channels, out_channels), nn.ReLU()
