"""Modes change while frames flow, and no frame is lost or answered twice."""

from __future__ import annotations

import itertools
import json

import pytest
from websockets.asyncio.client import connect

from ingress.wire.pictures import Result
from ingress.wire.replies import Error, ModeChanged
from models.catalog import MODES
from tests.integration.pictures import jpeg, moving
from tests.integration.plain_client import IN_FLIGHT, PlainClient
from tests.integration.v1_client import v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

TOUR = (*MODES, "person")


def in_turn(modes: list[str]) -> list[str]:
    """The modes in the order in which they came, repetitions left out."""
    return [mode for mode, _ in itertools.groupby(modes)]


async def test_every_v1_frame_ends_once_while_the_mode_changes_to_every_mode(
    server: ServeApp,
) -> None:
    frames = itertools.cycle([jpeg(frame) for frame in moving(6)])
    async with v1(server.ws) as client:
        for stop, mode in enumerate(TOUR):
            await client.say(f'{{"type":"change_mode","model_mode":"{mode}","id":{stop}}}')
            while not client.told(ModeChanged, stop):
                await client.send(next(frames))
                await client.receive()
            assert (await client.mask(next(frames))).meta.mode == mode
        await client.settle()
    assert {len(outcomes) for outcomes in client.outcomes.values()} == {1}
    ends = [outcomes[0] for outcomes in client.outcomes.values()]
    assert not [end for end in ends if isinstance(end, Error)]
    assert in_turn([end.meta.mode for end in ends if isinstance(end, Result)]) == list(TOUR)


async def test_every_plain_frame_is_answered_while_the_mode_changes_to_every_mode(
    server: ServeApp,
) -> None:
    frames = itertools.cycle([jpeg(frame) for frame in moving(6)])

    async def tour(client: PlainClient) -> None:
        for mode in TOUR:
            changed = await client.ask({"type": "change_mode", "model_mode": mode}, "mode_changed")
            assert changed["class_labels"] == list(MODES[mode].labels)
            for _ in range(IN_FLIGHT + 1):  # those under way may be of the mode before
                await client.next_answer()
            assert client.modes[-1] == mode

    async with connect(server.ws, max_size=None) as socket:
        assert json.loads(await socket.recv())["current_model"] == "person"
        client = PlainClient(socket, frames)
        await client.run(tour)
    assert client.errors == []
    assert client.answered == client.sent
    assert in_turn(client.modes) == list(TOUR)


async def test_of_two_changes_at_once_the_later_one_is_in_force(server: ServeApp) -> None:
    picture = jpeg(moving(1)[0])
    async with v1(server.ws) as client:
        for mode in ("salient", "parts"):
            await client.say(f'{{"type":"change_mode","model_mode":"{mode}","id":"{mode}"}}')
        while not client.told(ModeChanged, "parts"):
            await client.receive()
        assert (await client.mask(picture)).meta.mode == "parts"
