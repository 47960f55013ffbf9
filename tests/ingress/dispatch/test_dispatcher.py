"""Waiting sessions become batches: fair, fresh, bounded, and every flight lands once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from ingress.dispatch.dispatcher import Dispatcher
from ingress.dispatch.flight import AnalysisFailed, Flight
from ingress.dispatch.flow import Flow
from ingress.session.single import SingleFrame
from ingress.wire.pictures import Frame
from models.view import View
from models.work import FrameFailure, FrameOutcome, FrameRequest, FrameResult
from tests.ingress.turns import settle
from tests.ingress.world import MakeWorld, World


class Client:
    """A source that always has ``backlog`` frames ready."""

    def __init__(self, name: str, backlog: int = 1, size: int = 10) -> None:
        self.name = name
        self.backlog = backlog
        self.size = size
        self.flow = Flow()
        self.landed: list[Flight] = []
        self.endless: Dispatcher | None = None

    @property
    def is_ready(self) -> bool:
        return self.backlog > 0

    def take(self) -> Flight | None:
        self.backlog -= 1
        image = self.name.encode().ljust(self.size)
        request = FrameRequest(image, View())
        return Flight(self, self, Frame(1, 0, 0, image), request, "person", 0.0, 0.0)

    def land(self, flight: Flight) -> None:
        self.landed.append(flight)
        if self.endless:
            self.backlog = 1
            self.endless.offer(self)


def images(world: World) -> list[list[str]]:
    return [[image.decode().strip() for image in batch] for _, batch in world.analyzer.calls]


async def test_a_lone_frame_goes_at_once(world: World) -> None:
    client = Client("a")
    world.service.dispatchers["person"].offer(client)
    await settle()
    assert images(world) == [["a"]]
    assert isinstance(client.landed[0].outcome, FrameResult)
    assert client.landed[0].batch == 1


async def test_what_waits_while_calls_run_goes_as_one_batch_in_order(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    dispatcher = world.service.dispatchers["person"]
    clients = [Client(name) for name in "abcd"]
    for client in clients:
        dispatcher.offer(client)
    await settle()
    assert images(world) == [["a"]]
    assert (dispatcher.calls, dispatcher.waiting) == (1, 3)
    world.analyzer.gate.set()
    await settle()
    assert images(world) == [["a"], ["b", "c", "d"]]


async def test_a_session_has_one_frame_in_a_batch_and_queues_again_behind_the_others(
    make_world: MakeWorld,
) -> None:
    world = make_world(batching={"max_calls": 1, "max_batch": 2})
    world.analyzer.gate = asyncio.Event()
    dispatcher = world.service.dispatchers["person"]
    for client in (Client("first"), Client("greedy", backlog=3), Client("b"), Client("c")):
        dispatcher.offer(client)
    await settle()
    world.analyzer.gate.set()
    await settle()
    assert images(world) == [["first"], ["greedy", "b"], ["c", "greedy"], ["greedy"]]


async def test_a_batch_is_bounded_in_frames_and_bytes(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 1, "max_batch": 4, "max_batch_bytes": 2048})
    world.analyzer.gate = asyncio.Event()
    dispatcher = world.service.dispatchers["person"]
    clients = [
        Client("x"),
        *(Client(str(i)) for i in range(6)),
        *(Client(s, size=1500) for s in "AB"),
    ]
    for client in clients:
        dispatcher.offer(client)
    await settle()
    world.analyzer.gate.set()
    await settle()
    assert images(world) == [["x"], ["0", "1", "2", "3"], ["4", "5", "A", "B"]]
    assert all(client.landed for client in clients)


async def test_no_more_calls_than_allowed_are_in_flight(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 2})
    world.analyzer.gate = asyncio.Event()
    for i in range(10):
        world.service.dispatchers["person"].offer(Client(str(i)))
        await settle()
    assert world.analyzer.running == 2
    world.analyzer.gate.set()
    await settle()
    assert sum(map(len, images(world))) == 10


async def test_every_replica_of_a_pool_is_kept_busy(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 2}, replicas={"person": 3})
    world.analyzer.gate = asyncio.Event()
    for mode in ("person", "parts"):
        for i in range(10):
            world.service.dispatchers[mode].offer(Client(str(i)))
            await settle()
    calls = {mode: world.service.dispatchers[mode].calls for mode in ("person", "parts")}
    assert calls == {"person": 6, "parts": 2}


async def test_a_pool_that_answers_slowly_is_given_few_frames_at_once(world: World) -> None:
    """Five cameras on a network that takes half a second a frame: none waits behind all others."""
    running: list[int] = []

    async def one_at_a_time(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        async with queue:
            running.append(dispatcher.under_way)
            await asyncio.sleep(0.5 * len(frames))
        return [FrameFailure("FRAME_REJECTED", "") for _ in frames]

    queue = asyncio.Lock()
    world.analyzer.answer = one_at_a_time
    dispatcher = world.service.dispatchers["salient"]
    clients = [Client(str(i)) for i in range(5)]
    for client in clients:
        client.endless = dispatcher
        dispatcher.offer(client)
    await asyncio.sleep(30)
    assert max(running) == 2
    assert min(len(client.landed) for client in clients) >= 11
    for client in clients:
        client.endless = None
    await asyncio.sleep(3)


async def test_equal_clients_get_equal_shares(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 2, "max_batch": 4})
    world.analyzer.delay_s = 0.01
    dispatcher = world.service.dispatchers["person"]
    clients = [Client(str(i)) for i in range(7)]
    for client in clients:
        client.endless = dispatcher
        dispatcher.offer(client)
    await asyncio.sleep(10)
    served = Counter({client.name: len(client.landed) for client in clients})
    assert min(served.values()) > 100
    assert max(served.values()) - min(served.values()) <= 0.05 * max(served.values())
    for client in clients:
        client.endless = None
    await asyncio.sleep(1)


async def test_no_camera_gains_from_when_its_frames_come(make_world: MakeWorld) -> None:
    """Some frames come right after their camera's turn, others just miss it, again and again."""
    world = make_world(batching={"max_calls": 1, "max_batch": 2})
    world.analyzer.delay_s = 0.1
    dispatcher = world.service.dispatchers["person"]
    cameras = [Client(str(i), backlog=0) for i in range(5)]

    async def film(camera: Client, phase_s: float) -> None:
        await asyncio.sleep(phase_s)
        while True:
            camera.backlog = 1  # the newest frame displaces one that waits
            dispatcher.offer(camera)
            await asyncio.sleep(0.2)

    films = [asyncio.create_task(film(c, 0.03 * n)) for n, c in enumerate(cameras)]
    await asyncio.sleep(60)
    for task in films:
        task.cancel()
    await asyncio.sleep(1)
    served = [len(camera.landed) for camera in cameras]
    assert min(served) > 200
    assert max(served) - min(served) <= 2


async def test_a_slow_mode_delays_no_other(world: World) -> None:
    async def hold_parts(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        if mode == "parts":
            await asyncio.sleep(20)
        return [FrameFailure("FRAME_REJECTED", "") for _ in frames]

    world.analyzer.answer = hold_parts
    slow, fast = Client("slow"), Client("fast")
    world.service.dispatchers["parts"].offer(slow)
    world.service.dispatchers["person"].offer(fast)
    await settle()
    assert (len(slow.landed), len(fast.landed)) == (0, 1)
    await asyncio.sleep(21)
    assert len(slow.landed) == 1


async def test_a_call_is_cancelled_when_all_its_sessions_have_gone_and_not_before(
    make_world: MakeWorld,
) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    dispatcher = world.service.dispatchers["person"]
    taken: list[Flight] = []

    class Leaver(Client):
        def take(self) -> Flight | None:
            flight = super().take()
            assert flight is not None
            taken.append(flight)
            return flight

    for name in "abc":
        dispatcher.offer(Leaver(name))
    await settle()
    world.analyzer.gate.set()
    world.analyzer.gate = asyncio.Event()
    await settle()  # a has landed; b and c share the second call
    dispatcher.abandon(taken[1:2])
    await settle()
    assert world.analyzer.cancelled == 0
    dispatcher.abandon(taken[2:3])
    await settle()
    assert (world.analyzer.cancelled, dispatcher.calls) == (1, 0)


async def test_a_call_that_is_cancelled_before_its_first_step_lands_all_the_same(
    world: World,
) -> None:
    dispatcher, client = world.service.dispatchers["person"], Client("a")
    dispatcher.offer(client)  # the call is made and has not begun
    ((flight,),) = dispatcher._calls.values()
    dispatcher.abandon([flight])
    await settle()
    assert client.landed == [flight]
    assert (world.analyzer.calls, dispatcher.calls) == ([], 0)


async def test_a_session_that_withdraws_is_not_asked_any_more(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    dispatcher = world.service.dispatchers["person"]
    first, second = Client("first"), Client("second")
    dispatcher.offer(first)
    dispatcher.offer(second)
    dispatcher.withdraw(second)
    await settle()
    world.analyzer.gate.set()
    await settle()
    assert images(world) == [["first"]]


async def test_a_failed_call_lands_on_every_frame_of_it_and_the_next_goes_on(world: World) -> None:
    async def fail(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        raise AnalysisFailed("ActorDiedError", unavailable=True)

    world.analyzer.answer = fail
    client = Client("a", backlog=2)
    world.service.dispatchers["person"].offer(client)
    await settle()
    assert [type(flight.outcome) for flight in client.landed] == [AnalysisFailed] * 2


@pytest.mark.parametrize("lie", [[], [FrameFailure("FRAME_REJECTED", "")] * 5])
async def test_a_call_that_answers_too_few_or_too_many_fails_its_frames(
    world: World, lie: list[FrameOutcome]
) -> None:
    async def answer(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        return lie

    world.analyzer.answer = answer
    client = Client("a")
    world.service.dispatchers["person"].offer(client)
    await settle()
    outcome = client.landed[0].outcome
    assert isinstance(outcome, FrameFailure)
    assert outcome.code == "INFERENCE_FAILED"


async def test_a_call_has_a_deadline(world: World) -> None:
    world.analyzer.delay_s = 1000
    client = Client("a")
    world.service.dispatchers["person"].offer(client)
    await asyncio.sleep(31)
    assert isinstance(client.landed[0].outcome, FrameFailure)
    assert world.analyzer.cancelled == 1


async def test_a_bug_in_a_call_is_counted_and_logged_once_and_its_frames_land(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        raise ZeroDivisionError

    world.analyzer.answer = bug
    client = Client("a")
    world.service.dispatchers["person"].offer(client)
    await settle()
    assert isinstance(client.landed[0].outcome, FrameFailure)
    assert world.count("unhandled_exceptions_total") == 1
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_turns_are_charged_by_what_frames_cost(make_world: MakeWorld) -> None:
    """One whose frames cost fifteen times as much has a fifteenth of the turns."""
    world = make_world(batching={"max_calls": 1, "max_batch": 2})

    async def worked(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        outcomes = [work(frame) for frame in frames]
        await asyncio.sleep(sum(outcome.took_ms for outcome in outcomes) / 1000)
        return outcomes

    def work(frame: FrameRequest) -> FrameFailure:
        return FrameFailure("FRAME_REJECTED", "", 150.0 if frame.image.startswith(b"dear") else 10)

    world.analyzer.answer = worked
    dispatcher = world.service.dispatchers["person"]
    clients = [Client(name) for name in ("a", "b", "c", "dear")]
    for client in clients:
        client.endless = dispatcher
        dispatcher.offer(client)
    await asyncio.sleep(60)
    for client in clients:
        client.endless = None
    await asyncio.sleep(1)
    *cheap, dear = (len(client.landed) for client in clients)
    assert max(cheap) - min(cheap) <= 0.05 * max(cheap)
    assert 13 * dear <= min(cheap)
    assert dear >= 60 / 4 / 0.150 - 10


async def test_all_pictures_by_http_are_one_flow_beside_the_streams(make_world: MakeWorld) -> None:
    async def one_at_a_time(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        async with queue:
            await asyncio.sleep(0.01 * len(frames))
        return [FrameFailure("FRAME_REJECTED", "", 10.0) for _ in frames]

    world, queue = make_world(batching={"max_calls": 2}), asyncio.Lock()
    world.analyzer.answer = one_at_a_time
    service = world.service
    dispatcher = service.dispatchers["person"]
    streams = [Client(str(i)) for i in range(4)]
    for stream in streams:
        stream.endless = dispatcher
        dispatcher.offer(stream)
    pictures = 0

    async def post() -> None:
        nonlocal pictures
        while True:
            await SingleFrame(b"x", View(), "person").flight(service)
            pictures += 1

    posting = [asyncio.create_task(post()) for _ in range(16)]
    await asyncio.sleep(10)
    for task in posting:
        task.cancel()
    for stream in streams:
        stream.endless = None
    await asyncio.sleep(1)
    fewest = min(len(stream.landed) for stream in streams)
    assert fewest > 150
    assert fewest / 2 < pictures <= 2 * fewest


async def test_pictures_by_http_fill_batches_where_nobody_streams(make_world: MakeWorld) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    service = world.service
    shots = [
        asyncio.create_task(SingleFrame(b"%d" % i, View(), "person").flight(service))
        for i in range(5)
    ]
    await settle()
    world.analyzer.gate.set()
    await asyncio.gather(*shots)
    assert images(world) == [["0"], ["1", "2", "3", "4"]]


async def test_dear_frames_go_in_calls_of_their_own_in_their_turn(make_world: MakeWorld) -> None:
    """Nobody's answer waits for one to be drawn; a lone client's frames need no such thing."""
    world = make_world(batching={"max_calls": 1, "max_batch": 4})

    async def worked(mode: str, frames: Sequence[FrameRequest]) -> Sequence[FrameOutcome]:
        outcomes = [work(frame) for frame in frames]
        await asyncio.sleep(max(outcome.took_ms for outcome in outcomes) / 1000)
        return outcomes

    def work(frame: FrameRequest) -> FrameFailure:
        return FrameFailure("FRAME_REJECTED", "", 200.0 if frame.image.startswith(b"dear") else 10)

    world.analyzer.answer = worked
    dispatcher = world.service.dispatchers["person"]
    cheap, dear = [Client(name) for name in "abc"], Client("dear")
    for client in (*cheap, dear):
        client.endless = dispatcher
        dispatcher.offer(client)
    await asyncio.sleep(2)
    known = len(world.analyzer.calls)
    await asyncio.sleep(10)
    later = images(world)[known:]
    assert all(batch == ["dear"] or "dear" not in batch for batch in later)
    assert max(map(len, later)) == 3, "the others fill batches as before"
    turns = Counter(name for batch in later for name in batch)
    assert turns["dear"] == pytest.approx(turns["a"] / 20, abs=3), "its share, and no more"
    assert turns["a"] * 0.010 >= 0.9 * 10, "its calls run beside theirs"
    for client in cheap:
        client.endless = None
    await asyncio.sleep(1)
    alone = len(dear.landed)
    await asyncio.sleep(2)
    assert len(dear.landed) - alone == 10
    dear.endless = None
    await asyncio.sleep(1)
    assert dispatcher.calls == dispatcher.waiting == 0


async def test_who_waits_alone_is_not_forgotten_where_the_others_frames_went_stale(
    make_world: MakeWorld,
) -> None:
    world = make_world(batching={"max_calls": 1})
    world.analyzer.gate = asyncio.Event()
    dispatcher = world.service.dispatchers["person"]
    dear, running, stale = Client("dear"), Client("running"), Client("stale")
    dispatcher._clock.landed(running.flow, 1, answered=True)
    dear.flow.cost_ms, dear.flow.next_turn = 1000.0, 500.0
    assert dispatcher._clock.is_dear(dear.flow)
    stale.take = lambda: None  # type: ignore[method-assign]
    dispatcher.offer(running)
    dispatcher.offer(stale)
    dispatcher.offer(dear)
    assert dispatcher.waiting == 2
    stale.backlog = 0
    world.analyzer.gate.set()
    await settle()
    assert len(dear.landed) == 1
