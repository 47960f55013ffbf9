"""The first words to a client say what is in force."""

from __future__ import annotations

from ingress.session.greeting import connected, welcome
from ingress.session.scene import Scene
from ingress.wire.replies import Welcome
from ingress.wire.text import encode_text, parse_server_text
from models.view import View
from tests.ingress.world import MakeWorld, World


def scene(world: World) -> Scene:
    made = Scene(world.service.settings, world.service.modes)
    made.adopt("parts", View(quality=33))
    return made


async def test_a_plain_client_hears_of_modes_and_of_the_labels_of_its_own(world: World) -> None:
    said = connected(world.service, scene(world))
    assert (said.current_model, said.class_labels[1]) == ("parts", "hair")
    assert said.available_models == tuple(world.service.modes)


async def test_a_welcome_says_the_limits_and_the_settings_in_force(make_world: MakeWorld) -> None:
    world = make_world(
        keepalive={"heartbeat_s": 3, "timeout_s": 5},
        limits={
            "max_in_flight": 2,
            "max_frame_bytes": 2000,
            "max_frame_pixels": 99,
            "hello_timeout_s": 8,
        },
    )
    said = welcome(
        world.service, scene(world), session="s", resume_token="t", resumed=True,
        reply_to="h", last_request=7,
    )  # fmt: skip
    assert (said.heartbeat_s, said.timeout_s, said.max_in_flight) == (3, 5, 2)
    assert (said.max_frame_bytes, said.max_frame_pixels) == (2000, 99)
    assert (said.mode, said.viz["quality"]) == ("parts", 33)
    assert (said.reply_to, said.last_request, said.resumed) == ("h", 7, True)
    assert said.retry_ms == world.service.settings.retry_ms
    assert [mode.name for mode in said.modes] == list(world.service.modes)


async def test_a_welcome_survives_the_wire_and_absent_fields_are_absent(world: World) -> None:
    said = welcome(
        world.service, scene(world), session="s", resume_token="t", resumed=False,
        reply_to=None,
    )  # fmt: skip
    text = encode_text(said)
    assert parse_server_text(text) == said
    assert (
        not {"why", "last_request", "reply_to", "control_seq"}
        & Welcome.model_validate_json(text).model_dump().keys()
    )
