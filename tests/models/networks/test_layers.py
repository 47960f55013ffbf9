import pytest
import torch
import torch.nn.functional as F

from models.networks.layers import InvertedResidual, SameConv2d, SqueezeExcite


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"),
    [(1, 1, (0, 0)), (3, 1, (1, 1)), (5, 1, (2, 2)), (3, 2, (0, 1)), (5, 2, (1, 2))],
)
def test_padding_is_that_of_tensorflow(
    kernel_size: int, stride: int, padding: tuple[int, int]
) -> None:
    convolution = SameConv2d(1, 1, kernel_size, stride)
    picture = torch.rand(1, 1, 8, 12)
    padded = F.pad(picture, padding * 2)
    expected = F.conv2d(padded, convolution.weight, convolution.bias, stride)
    torch.testing.assert_close(convolution(picture), expected)
    assert expected.shape == (1, 1, 8 // stride, 12 // stride)


def test_squeeze_and_excite_sees_the_average_alone() -> None:
    weights = SqueezeExcite(4, 2)
    picture = torch.rand(2, 4, 6, 6)
    average = picture.mean((2, 3), keepdim=True).expand_as(picture)
    torch.testing.assert_close(weights(picture), weights(average))
    assert weights(picture).shape == (2, 4, 1, 1)


@pytest.mark.parametrize(
    ("out_channels", "stride", "added"), [(4, 1, True), (6, 1, False), (4, 2, False)]
)
def test_the_input_is_added_where_shapes_allow(out_channels: int, stride: int, added: bool) -> None:
    block = InvertedResidual(4, 8, out_channels, stride=stride)
    torch.nn.init.zeros_(block.project.weight)
    torch.nn.init.zeros_(block.project.bias)  # type: ignore[arg-type]
    picture = torch.rand(1, 4, 8, 8)
    expected = picture if added else torch.zeros(1, out_channels, 8 // stride, 8 // stride)
    torch.testing.assert_close(block(picture), expected)
