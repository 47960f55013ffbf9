"""Building blocks of the MediaPipe selfie networks (``selfie``, ``multiclass``).

Both descend from MobileNet, were trained in TensorFlow, and had their batch
normalisation folded into the convolutions when they were exported. Two rules
follow: every convolution has a bias, and padding is TensorFlow's SAME, which
puts the odd row and column of a strided convolution after the picture, where
PyTorch's symmetric padding would put it before.

Tensors are float ``[B, C, H, W]``; strided blocks expect even H and W.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class SameConv2d(nn.Conv2d):
    """Convolution with SAME padding: ``[B, I, H, W]`` to ``[B, O, H/stride, W/stride]``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        surplus = kernel_size - stride
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=surplus // 2, groups=groups
        )
        self.uneven = surplus % 2 == 1

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven:
            x = F.pad(x, (0, 1, 0, 1))
        return super().forward(x)


def depthwise(channels: int, kernel_size: int, stride: int = 1) -> SameConv2d:
    """A SAME convolution that filters each channel by itself."""
    return SameConv2d(channels, channels, kernel_size, stride, groups=channels)


class SqueezeExcite(nn.Module):
    """Channel weights from the global average: ``[B, C, H, W]`` to 0..1 ``[B, C, 1, 1]``.

    Returns the weights and leaves the multiplication to the caller, because the
    decoder computes them from one tensor and applies them to another.
    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks".
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        average = x.mean((2, 3), keepdim=True)
        return torch.sigmoid(self.excite(F.relu(self.squeeze(average))))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; the input is added where shapes allow.

    Source: Sandler et al. 2018 (MobileNetV2); with squeeze-and-excite, Howard et
    al. 2019 (MobileNetV3).
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        squeezed: int | None = None,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        self.expand = SameConv2d(in_channels, expanded)
        self.depthwise = depthwise(expanded, kernel_size, stride)
        self.squeeze_excite = SqueezeExcite(expanded, squeezed) if squeezed else None
        self.project = SameConv2d(expanded, out_channels)
        self.activation = activation
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.depthwise(self.activation(self.expand(x))))
        if self.squeeze_excite is not None:
            y = y * self.squeeze_excite(y)
        projected: Tensor = self.project(y)
        return x + projected if self.residual else projected
