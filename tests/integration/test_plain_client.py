"""A minute in the life of an original client."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence

import pytest
from websockets.asyncio.client import connect

from tests.integration.pictures import jpeg, moving
from tests.integration.plain_client import PlainClient
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

MINUTE_S = 60.0
STALL_S = 10.0  # `salient` costs most of a second a frame on a CPU
VIEWS = ("filled", "contour", "side_by_side", "blend", "cutout", "blur", "replace")


async def ask_for_stats(client: PlainClient) -> None:
    while True:
        stats = await client.ask({"type": "get_stats"}, "stats")
        original = {"avg_inference_ms", "min_inference_ms", "max_inference_ms", "avg_fps"}
        assert original <= stats.keys()
        assert stats["avg_inference_ms"] >= 0
        await asyncio.sleep(2)  # the client's own interval, not a wait for something


async def change_everything(client: PlainClient, modes: Sequence[str]) -> set[str]:
    """Go through modes and views for a minute; returns the views that were confirmed."""
    until = asyncio.get_running_loop().time() + MINUTE_S
    views = itertools.cycle(VIEWS)
    confirmed = set()
    for mode in itertools.cycle(modes):
        if asyncio.get_running_loop().time() > until:
            break
        changed = await client.ask({"type": "change_mode", "model_mode": mode}, "mode_changed")
        assert changed["model_mode"] == mode
        settings = {"visualization_mode": next(views), "overlay_opacity": 0.5}
        updated = await client.ask({"type": "update_viz", "settings": settings}, "viz_updated")
        confirmed.add(updated["settings"]["visualization_mode"])
        for _ in range(3):
            await client.next_answer()
    return confirmed


@pytest.mark.timeout(240)
async def test_a_plain_client_runs_for_a_minute_without_a_stall(server: ServeApp) -> None:
    pictures = itertools.cycle([jpeg(frame) for frame in moving(12)])
    async with connect(server.ws, max_size=None) as socket:
        hello = json.loads(await socket.recv())
        assert (hello["type"], hello["status"]) == ("connected", "ready")
        modes = hello["available_models"]

        async def minute(client: PlainClient) -> None:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(ask_for_stats(client))
                confirmed = await change_everything(client, modes)
                asking.cancel()
            assert confirmed == {view.replace("_", "-") for view in VIEWS}

        client = PlainClient(socket, pictures)
        await client.run(minute)
    assert client.errors == []
    assert client.answered == client.sent
    assert set(client.modes) == set(modes)
    assert client.longest_gap_s < STALL_S
