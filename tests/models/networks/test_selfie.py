import pytest
import torch

from models.networks.selfie import DecoderStep, LiteReducedAspp, SelfieSegmentation


def test_the_network_has_the_parameters_of_the_original() -> None:
    assert sum(p.numel() for p in SelfieSegmentation().parameters()) == 106_401


def test_one_logit_per_pixel_at_both_frame_shapes() -> None:
    with torch.device("meta"):
        network = SelfieSegmentation()
        assert network(torch.empty(2, 3, 256, 256)).shape == (2, 1, 256, 256)
        assert network(torch.empty(1, 3, 144, 256)).shape == (1, 1, 144, 256)


def test_a_decoder_step_returns_the_shape_of_its_skip() -> None:
    skip = torch.rand(1, 4, 8, 12)
    assert DecoderStep(6, 4)(torch.rand(1, 6, 4, 6), skip).shape == skip.shape


@pytest.mark.parametrize(("bias", "passed"), [(-100.0, 0.0), (0.0, 0.5), (100.0, 1.0)])
def test_the_context_gate_scales_the_features(bias: float, passed: float) -> None:
    head = LiteReducedAspp(3, 5)
    torch.nn.init.zeros_(head.gate.weight)
    torch.nn.init.constant_(head.gate.bias, bias)  # type: ignore[arg-type]
    picture = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(head(picture), passed * torch.relu(head.features(picture)))
