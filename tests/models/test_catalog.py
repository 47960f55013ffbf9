import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from models.catalog import MODES, ModeSpec

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "models" / "weights"

each_mode = pytest.mark.parametrize("spec", MODES.values(), ids=list(MODES))


def test_modes_stand_in_the_order_in_which_they_are_offered() -> None:
    assert list(MODES) == ["person", "person-wide", "parts", "salient"]


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MODES["person"] = MODES["parts"]  # type: ignore[index]


@each_mode
def test_a_mode_is_filed_under_its_own_name(spec: ModeSpec) -> None:
    assert MODES[spec.name] is spec


@each_mode
def test_every_class_has_a_label_and_a_colour_of_its_own(spec: ModeSpec) -> None:
    assert len(spec.labels) == len(spec.palette) >= 2
    assert len(set(spec.labels)) == len(spec.labels)
    assert len(set(spec.palette)) == len(spec.palette)
    assert all(0 <= value <= 255 for colour in spec.palette for value in colour)


@each_mode
def test_class_zero_is_the_background(spec: ModeSpec) -> None:
    assert spec.labels[0] == "background"


@each_mode
def test_the_weights_are_those_the_catalogue_names(spec: ModeSpec) -> None:
    content = (WEIGHTS / spec.weights).read_bytes()
    assert hashlib.sha256(content).hexdigest() == spec.sha256


@each_mode
def test_licence_and_source_are_told(spec: ModeSpec) -> None:
    assert spec.license == "Apache-2.0"
    assert spec.weights in (WEIGHTS / "NOTICE").read_text()
    assert spec.source.split(", ")[-1] in (WEIGHTS / "NOTICE").read_text()


def test_no_weights_are_shipped_that_no_mode_uses() -> None:
    shipped = {path.name for path in WEIGHTS.glob("*.safetensors")}
    assert shipped == {spec.weights for spec in MODES.values()}


def test_the_catalogue_is_read_without_a_numeric_library() -> None:
    program = "import sys, models.catalog; print(*sys.modules)"
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    imported = set(child.stdout.split())
    assert "models.catalog" in imported
    assert not imported & {"torch", "numpy", "cv2", "openvino"}
