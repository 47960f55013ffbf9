"""A minute in the life of an original client."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from websockets.asyncio.client import connect

from tests.integration.pictures import jpeg, moving
from tests.integration.plain_client import PlainClient
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

MINUTE_S = 60.0
STALL_S = 10.0  # `salient` costs most of a second a frame on a CPU
VIEWS = ("filled", "contour", "side_by_side", "blend", "cutout", "blur", "replace")


@pytest.mark.timeout(180)
async def test_a_plain_client_runs_for_a_minute_without_a_stall(server: ServeApp) -> None:
    pictures = itertools.cycle([jpeg(frame) for frame in moving(12)])
    async with connect(server.ws, max_size=None) as socket:
        hello = json.loads(await socket.recv())
        assert (hello["type"], hello["status"]) == ("connected", "ready")
        client = PlainClient(socket, pictures)

        async def ask_for_stats() -> None:
            while True:
                stats = await client.ask({"type": "get_stats"}, "stats")
                assert {"avg_inference_ms", "min_inference_ms", "max_inference_ms", "avg_fps"} <= (
                    stats.keys()
                )
                await asyncio.sleep(2)  # the client's own interval, not a wait for something

        async def minute(client: PlainClient) -> None:
            asking = asyncio.create_task(ask_for_stats())
            until = asyncio.get_running_loop().time() + MINUTE_S
            views = itertools.cycle(VIEWS)
            while asyncio.get_running_loop().time() < until:
                for mode in hello["available_models"]:
                    await client.ask({"type": "change_mode", "model_mode": mode}, "mode_changed")
                    settings = {"visualization_mode": next(views), "overlay_opacity": 0.5}
                    await client.ask({"type": "update_viz", "settings": settings}, "viz_updated")
                    for _ in range(3):
                        await client.next_answer()
            asking.cancel()

        await client.run(minute)
    assert client.errors == []
    assert client.answered == client.sent
    assert set(client.modes) == set(hello["available_models"])
    assert client.longest_gap_s < STALL_S
