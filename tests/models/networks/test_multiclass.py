import torch

from models.networks.multiclass import (
    FeaturePyramid,
    SelfieMulticlass,
    SeparableSelfAttention,
    fold_patches,
    unfold_patches,
)


def test_the_network_has_the_parameters_of_the_original() -> None:
    assert sum(p.numel() for p in SelfieMulticlass().parameters()) == 3_524_140


def test_six_logits_per_pixel() -> None:
    with torch.device("meta"):
        assert SelfieMulticlass()(torch.empty(2, 3, 256, 256)).shape == (2, 6, 256, 256)


def test_patches_are_laid_out_pixels_first_then_patches_in_reading_order() -> None:
    picture = torch.arange(8 * 12).reshape(1, 1, 8, 12)
    patches = unfold_patches(picture)
    assert patches.shape == (1, 1, 16, 6)
    assert patches[0, 0, 0].tolist() == [0, 4, 8, 48, 52, 56]  # first pixel of each patch
    assert patches[0, 0, :5, 0].tolist() == [0, 1, 2, 3, 12]  # first patch, row by row


def test_folding_undoes_unfolding() -> None:
    picture = torch.rand(2, 3, 8, 12)
    torch.testing.assert_close(fold_patches(unfold_patches(picture), 8, 12), picture)


def test_attention_sees_the_same_pixel_of_other_patches_and_no_other_pixel() -> None:
    torch.manual_seed(0)  # where a patch's values are all cut off by the ReLU, nothing moves
    attention = SeparableSelfAttention(4)
    patches = torch.rand(1, 4, 16, 6)
    changed = patches.clone()
    changed[:, :, 3, 0] += 1
    moved = (attention(changed) - attention(patches)).abs().amax(dim=(0, 1)) > 0
    assert moved[3].all()
    assert not moved[[p for p in range(16) if p != 3]].any()


def test_the_pyramid_merges_at_the_finest_size() -> None:
    features = [torch.rand(1, c, s, s) for c, s in ((2, 16), (3, 8), (5, 4))]
    assert FeaturePyramid((2, 3, 5), 7)(features).shape == (1, 7, 16, 16)
