from models.pictures.payload import ENCODERS
from models.pictures.render import OUTPUTS


def test_every_output_has_its_encoder() -> None:
    assert set(ENCODERS) == set(OUTPUTS)
