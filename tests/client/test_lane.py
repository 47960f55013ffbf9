"""The control lane: one reply for each request, whatever happens to its connection."""

from __future__ import annotations

import asyncio

import pytest

from client import Closed, Failed, NoReply, Refused, Stream
from ingress.wire.pictures import Frame
from ingress.wire.replies import Bye, Error, ModeChanged, VizUpdated
from ingress.wire.requests import Ack, ChangeMode, GetStats, SubscribeStats, UpdateViz
from ingress.wire.words import ErrorCode
from tests.client.ends import connected, ended, numbered, opened, resumed, returning
from tests.client.fake_server import STATS, FakeServer, Peer, reply_to, welcome

pytestmark = pytest.mark.usefixtures("quick_returns")


async def test_replies_find_their_requests_in_any_order(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        changing = asyncio.create_task(stream.change_mode("parts"))
        first = await peer.hear(ChangeMode)
        updating = asyncio.create_task(stream.update_viz({"quality": 50}))
        second = await peer.hear(UpdateViz)
        assert first.model_mode == "parts"
        assert second.settings == {"quality": 50}
        await peer.say(VizUpdated(reply_to=second.id, settings={"quality": 50}))
        await peer.say(
            ModeChanged(reply_to=first.id, model_mode="parts", class_labels=("background",))
        )
        assert (await updating).settings == {"quality": 50}
        assert (await changing).class_labels == ("background",)
        assert (stream.mode, stream.viz) == ("parts", {"quality": 50})


async def test_a_refused_request_raises_with_the_servers_words(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        changing = asyncio.create_task(stream.change_mode("parts"))
        request = await peer.hear(ChangeMode)
        await peer.say(Error(reply_to=request.id, code=ErrorCode.INVALID_MODE, message="no mode"))
        with pytest.raises(Refused, match="no mode") as caught:
            await changing
        assert caught.value.code is ErrorCode.INVALID_MODE


async def test_a_reply_of_another_kind_is_a_refusal(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        request = await peer.hear(GetStats)
        await peer.say(VizUpdated(reply_to=request.id, settings={}))
        with pytest.raises(Refused, match="another message"):
            await asking


async def test_a_request_without_a_reply_ends_at_its_deadline(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        with pytest.raises(NoReply, match=r"did not answer get_stats within 0\.01 s"):
            await stream.get_stats(timeout_s=0.01)
        late = await peer.hear(GetStats)
        await peer.say(STATS.model_copy(update={"reply_to": late.id}))
        await peer.say(Error(code=ErrorCode.OVERLOADED, message="still here"))
        assert await anext(stream) == Failed(None, ErrorCode.OVERLOADED, "still here")


async def test_statistics_come_on_request_and_by_subscription(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        request = await peer.hear(GetStats)
        await peer.say(STATS.model_copy(update={"reply_to": request.id}))
        assert (await asking).avg_fps == STATS.avg_fps
        subscribing = asyncio.create_task(stream.subscribe_stats(0.5))
        subscription = await peer.hear(SubscribeStats)
        assert subscription.interval_s == 0.5
        await peer.say(STATS.model_copy(update={"reply_to": subscription.id}))
        assert (await subscribing).avg_fps == STATS.avg_fps
        await peer.say(STATS.model_copy(update={"avg_fps": 12.0}))
        await peer.say(Error(code=ErrorCode.OVERLOADED, message="after"))
        await anext(stream)
        assert stream.stats is not None
        assert stream.stats.avg_fps == 12.0


@pytest.mark.parametrize("numbers", [(2,), (1, 3)])
async def test_a_gap_among_control_messages_ends_the_connection(
    server: FakeServer, numbers: tuple[int, ...]
) -> None:
    async with connected(server) as (stream, peer):
        for number in numbers:
            await peer.say(STATS.model_copy(update={"control_seq": number}))
        closed = await ended(stream)
    assert closed.end.code == 1002
    assert f"control_seq {numbers[-1]}" in closed.end.reason


async def test_a_control_message_that_was_seen_is_ignored(server: FakeServer) -> None:
    async with connected(server) as (stream, peer):
        for number, words in ((1, "one"), (1, "one again"), (2, "two"), (1, "one"), (3, "three")):
            await peer.say(Error(control_seq=number, code=ErrorCode.OVERLOADED, message=words))
        seen = [await anext(stream) for _ in range(3)]
    assert [each.message for each in seen if isinstance(each, Failed)] == ["one", "two", "three"]


# ------------------------------------------------------------------ over a lost connection


async def test_requests_that_were_lost_are_sent_again_in_order(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(stream.update_viz({"quality": q})) for q in (1, 2, 3)]
            heard = [await peer.hear(UpdateViz) for _ in calls]
            peer.cut()
            peer, _ = await returning(server, resumed(last_request=1))
            await peer.say(numbered(reply_to(heard[0]), 1))
            await peer.hear(Ack)
            for number_, sent in ((2, heard[1]), (3, heard[2])):
                again = await peer.hear(UpdateViz)
                assert again == sent
                await peer.say(numbered(reply_to(again), number_))
        assert [call.result().settings["quality"] for call in calls] == [1, 2, 3]
        asking = asyncio.create_task(stream.get_stats())  # and nothing comes a second time
        await peer.say(numbered(reply_to(await peer.hear(GetStats)), 4))
        await asking


async def test_a_request_is_sent_again_for_every_loss_that_needs_it(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        heard = await peer.hear(GetStats)
        for turn in range(2, 5):
            peer.cut()
            peer, _ = await returning(server, resumed(f"t{turn}"))
            await peer.hear(Ack)
            assert await peer.hear(GetStats) == heard
        await peer.say(reply_to(heard))
        await asking


async def test_an_error_for_what_was_under_way_is_its_reply(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        changing = asyncio.create_task(stream.change_mode("parts"))
        request = await peer.hear(ChangeMode)
        peer.cut()
        peer, _ = await returning(server, resumed(last_request=1))
        lost = Error(
            reply_to=request.id, code=ErrorCode.MODE_CHANGE_FAILED, message="connection lost"
        )
        await peer.say(numbered(lost, 1))
        with pytest.raises(Refused, match="connection lost"):
            await changing


async def test_a_request_made_while_away_goes_out_once_on_return(server: FakeServer) -> None:
    away = asyncio.Event()
    async with opened(server, notify=lambda change: away.set()) as (stream, peer):
        peer.cut()
        await away.wait()
        asking = asyncio.create_task(stream.get_stats())
        peer, _ = await returning(server, resumed())
        await peer.hear(Ack)
        await peer.say(reply_to(await peer.hear(GetStats)))
        await asking


async def test_the_deadline_of_a_request_goes_on_while_away(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats(timeout_s=0.2))
        await peer.hear(GetStats)
        peer.cut()
        with pytest.raises(NoReply, match="did not answer get_stats"):
            await asking
        peer, _ = await returning(server, resumed())
        await peer.hear(Ack)
        await stream.send(b"1")
        await peer.hear(Frame)  # nobody waits for the request: it is not sent again


async def test_a_last_request_that_was_never_sent_is_a_protocol_error(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        peer.cut()
        await returning(server, resumed(last_request=7))
        assert (await ended(stream)).end.code == 1002


@pytest.mark.parametrize("says_bye", [True, False])
async def test_a_session_that_is_not_kept_fails_its_requests_at_once(
    server: FakeServer, says_bye: bool
) -> None:
    greeting = welcome(resume_token="t1" if says_bye else None)
    async with opened(server, greeting) as (stream, peer):
        asking = asyncio.create_task(stream.get_stats())
        await peer.hear(GetStats)
        if says_bye:
            await peer.say(Bye(reason="server_error", retry_ms=(0, 1), resume=False))
        await peer.socket.close(1011, "server_error")
        with pytest.raises(Closed, match="1011"):
            await asking
        _, hello = await returning(server, welcome(resume_token="t2"))
        assert hello.resume is None


async def test_statistics_go_on_without_being_asked_for_again(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        await chosen(stream, peer)
        peer.cut()
        peer, _ = await returning(server, resumed(last_request=3))
        await peer.hear(Ack)
        await peer.say(numbered(STATS.model_copy(update={"avg_fps": 9.0}), 1))
        await stream.send(b"1")
        await peer.send_result(1, await peer.hear(Frame))
        await anext(stream)
        assert stream.stats is not None
        assert stream.stats.avg_fps == 9.0


# ------------------------------------------------------------------ a new session


async def chosen(stream: Stream, peer: Peer) -> None:
    """Have a mode, a view of its classes and a subscription confirmed."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.change_mode("parts"))
        await peer.say(reply_to(await peer.hear(ChangeMode)))
        tasks.create_task(stream.update_viz({"output": "mask", "class_filter": [1, 9]}))
        await peer.say(reply_to(await peer.hear(UpdateViz)))
        tasks.create_task(stream.subscribe_stats(2.0))
        await peer.say(reply_to(await peer.hear(SubscribeStats)))


async def test_a_new_session_is_brought_to_what_was_chosen_before_frames_go_on(
    server: FakeServer,
) -> None:
    async with opened(server) as (stream, peer):
        await chosen(stream, peer)
        peer.cut()
        peer, _ = await returning(server, welcome(resume_token="t2"))
        sending = asyncio.create_task(stream.send(b"1"))
        await peer.hear(Ack)
        mode = await peer.hear(ChangeMode)
        assert mode.model_mode == "parts"
        await peer.say(reply_to(mode))
        viz = await peer.hear(UpdateViz)
        assert viz.settings == {"output": "mask", "class_filter": [1]}  # the mode has no class 9
        await peer.say(reply_to(viz))
        subscription = await peer.hear(SubscribeStats)
        assert subscription.interval_s == 2.0
        assert not sending.done()
        await peer.say(reply_to(subscription))
        await peer.hear(Frame)
        await sending
        assert (stream.mode, stream.viz) == ("parts", viz.settings)


async def test_what_the_server_kept_is_not_asked_for_again(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.change_mode("parts"))
            await peer.say(reply_to(await peer.hear(ChangeMode)))
        peer.cut()
        peer, _ = await returning(server, welcome(resume_token="t2", mode="parts"))
        await peer.hear(Ack)
        await stream.send(b"1")
        await peer.hear(Frame)


async def test_a_choice_that_is_refused_is_told_and_the_next_is_asked_for(
    server: FakeServer,
) -> None:
    async with opened(server) as (stream, peer):
        await chosen(stream, peer)
        peer.cut()
        peer, _ = await returning(server, welcome(resume_token="t2"))
        await peer.hear(Ack)
        mode = await peer.hear(ChangeMode)
        code = ErrorCode.MODE_CHANGE_FAILED
        await peer.say(Error(reply_to=mode.id, code=code, message="not to be had"))
        await peer.hear(UpdateViz)
        assert await anext(stream) == Failed(None, code, "not to be had")


async def test_a_loss_while_choices_are_asked_for_starts_that_again(server: FakeServer) -> None:
    async with opened(server) as (stream, peer):
        await chosen(stream, peer)
        peer.cut()
        peer, _ = await returning(server, welcome(resume_token="t2"))
        await peer.hear(Ack)
        await peer.hear(ChangeMode)
        peer.cut()
        peer, _ = await returning(server, resumed("t3"))
        await peer.hear(Ack)
        assert (await peer.hear(ChangeMode)).model_mode == "parts"
