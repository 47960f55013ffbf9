"""What a session looks at: the view follows the mode, the masks are recent."""

from __future__ import annotations

import asyncio

import pytest

from models.view import UnknownClass, View
from tests.ingress.session.desk import Desk
from tests.ingress.world import World


async def test_masks_for_statistics_are_the_recent_ones_of_the_mode(world: World) -> None:
    desk = Desk(world)
    for _ in range(3):
        desk.arrive()
        await asyncio.sleep(6)
        desk.delivery.acknowledge(desk.credit.sent_seq)
    assert len(desk.scene.masks) == 2
    desk.mailbox.switch("parts")
    assert len(desk.scene.masks) == 0


async def test_a_view_outlives_a_mode_that_is_no_more(world: World) -> None:
    desk = Desk(world)
    desk.scene.adopt("withdrawn", View(quality=33, class_filter=(1, 5)))
    assert (desk.scene.mode, desk.scene.view.quality) == ("person", 33)
    assert desk.scene.view.class_filter == (1,)


async def test_settings_are_laid_over_the_view_all_or_none(world: World) -> None:
    scene = Desk(world).scene
    scene.lay_over({"output": "mask"})
    scene.lay_over({"quality": 33})
    with pytest.raises(UnknownClass):
        scene.lay_over({"quality": 50, "class_filter": [99]})
    assert (scene.view.output, scene.view.quality) == ("mask", 33)


async def test_the_mask_of_a_frame_of_the_mode_before_is_not_kept(world: World) -> None:
    scene = Desk(world).scene
    scene.change("parts")
    scene.remember("person", 1.0, b"mask")
    assert not scene.masks
