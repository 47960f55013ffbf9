import pytest
import torch

from models.networks.u2net import DilatedResidualUBlock, ResidualUBlock, U2NetSmall, enlarge, halve


def test_the_network_has_the_parameters_of_the_original() -> None:
    network = U2NetSmall()
    assert sum(p.numel() for p in network.parameters()) == 1_125_485


@pytest.mark.parametrize("size", [(320, 320), (64, 96)])
def test_one_logit_per_pixel_at_any_multiple_of_32(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert U2NetSmall()(torch.empty(2, 3, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize("depth", [4, 5, 6, 7])
def test_a_residual_u_block_keeps_the_size(depth: int) -> None:
    with torch.device("meta"):
        assert ResidualUBlock(depth, 3)(torch.empty(1, 3, 32, 64)).shape == (1, 64, 32, 64)


def test_a_dilated_block_takes_sizes_that_cannot_be_halved() -> None:
    with torch.device("meta"):
        assert DilatedResidualUBlock(64)(torch.empty(1, 64, 5, 7)).shape == (1, 64, 5, 7)


def test_a_block_adds_its_own_input_features() -> None:
    block = ResidualUBlock(4, 3)
    torch.nn.init.zeros_(block.decoder[-1].weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(block.decoder[-1].bias)  # type: ignore[arg-type]
    picture = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(block(picture), block.enter(picture))


def test_halving_keeps_the_maximum_and_enlarging_restores_the_size() -> None:
    picture = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert halve(picture).tolist() == [[[[4.0]]]]
    assert enlarge(halve(picture)).shape == picture.shape
    assert enlarge(picture, 1) is picture
