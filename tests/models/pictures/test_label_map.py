"""Label maps: from probabilities, as bytes and back, as a thumbnail."""

from __future__ import annotations

import numpy as np
import pytest

from models.pictures.label_map import decode_label_map, encode_label_map, label_map, thumbnail

LABELS = np.random.default_rng(3).integers(0, 6, (48, 64), np.uint8)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_label_map_is_the_most_probable_class(classes: int) -> None:
    logits = np.random.default_rng(7).normal(0, 3, (classes, 32, 32))
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    ranked = np.sort(probabilities, axis=0)
    decided = ranked[-1] - ranked[-2] > 1 / 128  # labels are compared in 8 bits
    expected = probabilities.argmax(axis=0)
    assert (label_map(probabilities) == expected)[decided].all()


def test_a_tie_goes_to_the_lower_class() -> None:
    assert not label_map(np.full((4, 3, 3), 0.25, np.float32)).any()


def test_a_label_map_reads_back_exactly() -> None:
    assert (decode_label_map(encode_label_map(LABELS)) == LABELS).all()


def test_a_label_map_beyond_thumbnail_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        decode_label_map(encode_label_map(np.zeros((65, 64), np.uint8)))


def test_a_damaged_label_map_is_refused() -> None:
    data = encode_label_map(LABELS)
    with pytest.raises(ValueError, match="damaged"):
        decode_label_map(data[:45] + bytes(12) + data[57:])


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 640), (48, 64)), ((640, 480), (64, 48)), ((20, 30), (20, 30))]
)
def test_a_thumbnail_has_the_proportions_of_the_frame(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    labels = np.eye(256, dtype=np.uint8)
    small = thumbnail(labels, size)
    assert small.shape == expected
    assert set(small.ravel().tolist()) <= {0, 1}
