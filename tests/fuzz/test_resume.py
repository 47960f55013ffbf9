"""Coming back: whatever a client says of a session, it gets its own or none, and no gap.

Sessions run against the fakes of ``tests/ingress``, on virtual time; the store obeys the real
rules. A stranger knows what can be seen: the session's id, tokens of its own, and noise.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hypothesis import strategies as st

from ingress.admission.gate import Visitor
from ingress.disconnects import DISCONNECTS
from ingress.resume.comeback import Afresh, Resumed, come_back
from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import (
    Claim,
    ClaimRefused,
    ControlRing,
    NewestResult,
    Numbered,
    Parked,
    SessionSettings,
    Title,
    hash_token,
)
from ingress.session.life import Session
from ingress.settings import Resume
from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.requests import ResumeRequest
from ingress.wire.words import SUBPROTOCOL
from models.view import View
from tests.fuzz.fuzzed import check_sentence, fuzzed
from tests.fuzz.json_messages import VALUES, keys_of, mutated
from tests.ingress.fakes import FakeStore, FakeTransport, lost
from tests.ingress.turns import end_calls, settle
from tests.ingress.world import World, new_world
from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")

ORIGIN, ELSEWHERE = "https://page.example", "https://evil.example"
CODES = {row.code for row in DISCONNECTS.values()}
PICTURE = b"the victim's picture"


def on_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


# ------------------------------------------------------------------ sessions


@dataclass
class Known:
    """What a client has of its session."""

    session: str
    token: str
    control: int = 0
    seq: int = 0


class Peer(FakeTransport):
    """One connection of a client, and what came over it."""

    def __init__(self, world: World, origin: str | None) -> None:
        super().__init__()
        self.task = asyncio.create_task(
            Session(world.service, self, Visitor(SUBPROTOCOL, origin)).run()
        )

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.sent if isinstance(message, str)]

    async def leave(self) -> None:
        if not self.task.done():
            self.come(lost())
        await asyncio.wait([self.task], timeout=60)
        assert self.task.done()
        assert self.task.exception() is None


async def victim(world: World, commands: int, frames: int, *, held: bool) -> tuple[Known, Peer]:
    """A client that has a session, and has lost its connection unless it is ``held``."""
    peer = Peer(world, ORIGIN)
    peer.come('{"type":"hello"}')
    await settle()
    welcome = peer.said[0]
    for number in range(commands):
        peer.come(json.dumps({"type": "update_viz", "settings": {"quality": 9}, "id": number}))
    for number in range(frames):
        peer.come(encode_frame(Frame(number + 1, 0, 0, PICTURE)))
        await settle()
    await settle()
    known = Known(welcome["session"], welcome["resume_token"])
    if not held:
        await peer.leave()
    return known, peer


def check_answers(peer: Peer, sent: str) -> None:
    """A welcome or typed errors, in words that tell nothing, and an end from the table."""
    for message in peer.said:
        assert message["type"] in {"welcome", "error", "bye", "ping", "dropped", "viz_updated"}
        check_sentence(message.get("message") or message.get("why") or "none", sent)
    if peer.closed is not None:
        assert peer.closed[0] in CODES
        check_sentence(peer.closed[1], "")


async def strangers(hellos: list[str], commands: int, *, held: bool, origin: str | None) -> None:
    world = new_world()
    known, owner = await victim(world, commands, 2, held=held)
    for hello in hellos:
        text = hello.replace("SESSION", known.session)
        peer = Peer(world, origin)
        peer.come(text)
        await settle()
        await asyncio.sleep(4)
        check_answers(peer, keys_of(text))
        for welcome in (m for m in peer.said if m["type"] == "welcome"):
            assert welcome["session"] != known.session
            assert welcome["resume_token"] != known.token
            assert not welcome["resumed"]
            assert welcome["viz"]["quality"] == 80  # the victim's is another
        assert not any(isinstance(message, bytes) for message in peer.sent)
        await peer.leave()
    if held:
        assert not owner.task.done(), "a stranger ended it"
        await owner.leave()
    back = Peer(world, ORIGIN)
    back.come(_hello(known))
    await settle(100)
    assert back.said[0]["type"] == "welcome"
    assert back.said[0]["resumed"], "a stranger cost the client its session"
    await back.leave()
    assert world.count("unhandled_exceptions_total") == 0
    await end_calls(world.service)


def _hello(known: Known) -> str:
    resume = {
        "session": known.session, "token": known.token,
        "last_seq": known.seq, "last_control": known.control,
    }  # fmt: skip
    return json.dumps({"type": "hello", "resume": resume})


_RESUME = {"session": "SESSION", "token": "t" * 43, "last_seq": 0, "last_control": 0}
hellos = mutated(
    [
        {"type": "hello", "resume": _RESUME},
        {"type": "hello", "id": 1, "client": "c", "resume": {**_RESUME, "session": "s"}},
        {"type": "hello", "token": "segstream", "resume": {**_RESUME, "last_seq": 2**63}},
    ]
) | VALUES.map(lambda value: json.dumps({"type": "hello", "resume": value}))


@fuzzed(
    60,
    texts=st.lists(hellos, min_size=1, max_size=4),
    commands=st.integers(1, 3),
    held=st.booleans(),
    origin=st.sampled_from([ORIGIN, ELSEWHERE, None]),
)
def test_strangers(texts: list[str], commands: int, held: bool, origin: str | None) -> None:
    on_virtual_time(strangers(texts, commands, held=held, origin=origin))


async def owner_returns(last_seq: int, last_control: int, commands: int, frames: int) -> None:
    world = new_world(resume={"ring_messages": 8})
    known, before = await victim(world, commands, frames, held=False)
    answered = [m["control_seq"] for m in before.said if "control_seq" in m]
    results = [parse_result(m).seq for m in before.sent if isinstance(m, bytes)]
    known.seq, known.control = last_seq, last_control
    back = Peer(world, ORIGIN)
    back.come(_hello(known))
    await settle(100)
    check_answers(back, "")
    welcome, *rest = back.said
    newest = max(answered, default=0)
    if welcome["resumed"]:
        assert welcome["session"] == known.session
        assert last_seq <= max(results, default=0)
        replayed = [m["control_seq"] for m in rest if "control_seq" in m]
        assert replayed == list(range(last_control + 1, last_control + 1 + len(replayed)))
        assert replayed[: newest - last_control] == list(range(last_control + 1, newest + 1))
        sent = [parse_result(m) for m in back.sent if isinstance(m, bytes)]
        assert all(result.seq > last_seq and result.payload == PICTURE for result in sent)
    else:
        assert welcome["why"]
        assert last_control > newest or newest - last_control > 8 or last_seq > max(results)
    assert welcome["viz"]["quality"] == (9 if commands else 80)  # kept in any case
    await back.leave()
    await end_calls(world.service)


@fuzzed(
    60,
    last_seq=st.integers(0, 5) | st.integers(0, 2**63),
    last_control=st.integers(0, 14) | st.integers(0, 2**63),
    commands=st.integers(0, 12),
    frames=st.integers(1, 3),
)
def test_the_owner_is_sent_what_it_lacks_or_told_that_there_is_a_gap(
    last_seq: int, last_control: int, commands: int, frames: int
) -> None:
    on_virtual_time(owner_returns(last_seq, last_control, commands, frames))


# ------------------------------------------------------------------ the store, and the ring

TOKENS = st.sampled_from(["a", "b", "c", ""]) | st.text(max_size=9)
ids = st.none() | st.integers() | st.text(max_size=64)
parks = st.builds(
    lambda before, texts, seq, frames, age_s, last: Parked(
        control=tuple(Numbered(before + n, "stats", text) for n, text in enumerate(texts, 1)),
        control_seq=before + len(texts),
        result_seq=seq,
        frame_seq=frames,
        unacked=tuple((seq - n, frames - n) for n in range(min(seq, 3))),
        newest=NewestResult(seq, frames, b"r", age_s) if seq else None,
        last_request=last,
    ),
    st.integers(0, 9),
    st.lists(st.text(max_size=9), max_size=6),
    st.integers(0, 9),
    st.integers(9, 99),
    st.floats(0, 4),
    ids,
)


@fuzzed(
    300,
    parked=parks,
    given_token=TOKENS,
    right=st.booleans(),
    last_seq=st.integers(0, 12),
    last_control=st.integers(0, 20),
    principal=st.sampled_from([None, "p", "q"]),
)
def test_what_was_parked_comes_back_whole(
    parked: Parked, given_token: str, right: bool, last_seq: int, last_control: int,
    principal: str | None,
) -> None:  # fmt: skip
    title = Title((hash_token("right"),), ORIGIN, SessionSettings("parts", View()), principal="p")
    request = ResumeRequest(
        session="s",
        token="right" if right else given_token,
        last_seq=last_seq,
        last_control=last_control,
    )

    async def back() -> Resumed | Afresh:
        store = FakeStore(Resume())
        store.memory.park("s", title, parked, asyncio.get_running_loop().time())
        return await come_back(
            store, request, ORIGIN, "new", result_age_s=2.0, timeout_s=2.0, principal=principal
        )

    got = on_virtual_time(back())
    if isinstance(got, Afresh):
        check_sentence(got.why, "")
        behind = not 0 <= parked.control_seq - last_control <= len(parked.control)
        assert not right or principal != "p" or behind or last_seq > parked.result_seq
        assert (got.settings is None) == (not right or principal != "p")
        return
    assert right
    assert principal == "p"
    assert got.parked == parked
    assert [m.seq for m in got.control] == list(range(last_control + 1, parked.control_seq + 1))
    due = parked.newest and parked.newest.seq > last_seq and parked.newest.age_s <= 2.0
    assert got.replayed == (parked.newest if due else None)
    lost_frames = got.parked.undelivered(last_seq, got.replayed)
    assert len(lost_frames) + bool(got.replayed) >= min(
        len(parked.unacked), parked.result_seq - last_seq
    )


@fuzzed(
    200,
    sizes=st.lists(st.integers(0, 60), max_size=40),
    steps=st.integers(1, 3),
    bounds=st.tuples(st.integers(1, 9), st.integers(1, 2000)),
)
def test_the_ring_keeps_the_newest_within_its_bounds(
    sizes: list[int], steps: int, bounds: tuple[int, int]
) -> None:
    ring, all_of_them = ControlRing(*bounds), []
    for number, size in enumerate(sizes, 1):
        all_of_them.append(Numbered(number * steps, "stats", "é" * size))
        ring.append(all_of_them[-1])
        kept = list(ring)
        assert kept == all_of_them[len(all_of_them) - len(kept) :]
        assert len(kept) <= bounds[0]
        assert ring.size_bytes == sum(m.size_bytes for m in kept) <= bounds[1]
        assert ring.newest == number * steps
    again = ControlRing(*bounds)
    again.restore(list(ring), ring.newest)
    assert (list(again), again.size_bytes, again.newest) == (
        list(ring),
        ring.size_bytes,
        ring.newest,
    )


acts = st.tuples(
    st.sampled_from(["hold", "park", "claim", "claim", "forget", "renew", "expire"]),
    st.sampled_from(["s1", "s2", "s3"]),
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from([ORIGIN, ELSEWHERE]),
    st.integers(1, 4),
    st.floats(0, 20),
    parks,
    st.booleans(),
)


@fuzzed(200, steps=st.lists(acts, max_size=30))
def test_a_store_gives_no_session_to_who_has_no_token_of_it(steps: list[Any]) -> None:
    store = MemoryStore(ttl_s=30.0, max_parked=2, max_parked_bytes=9000)
    now, written = 0.0, dict[str, set[tuple[str, str]]]()
    for act, session, token, origin, serial, later, parked, orphaned in steps:
        now += later
        title = Title((hash_token(token),), origin, SessionSettings("person", View()), serial)
        do: Callable[[], object]
        match act:
            case "hold":
                do = partial(store.hold, session, title, now)
            case "park":
                do = partial(store.park, session, title, parked, now)
            case "forget":
                do = partial(store.forget, session, title, now)
            case "renew":
                do = partial(store.renew, {hash_token(token): session}, now)
            case "expire":
                do = partial(store.expire, now)
            case _:
                new = hash_token(token + "'")
                do = partial(
                    store.claim, session, hash_token(token), origin, new, now, orphaned=orphaned
                )
        got: object = None
        with suppress(ClaimRefused):
            got = do()
        if act in ("hold", "park"):
            written.setdefault(session, set()).add((token, origin))
        if isinstance(got, Claim):
            assert (token, origin) in written[session]
            assert got.title.origin == origin
        assert store.parked <= 2
        assert store.kept_bytes <= 9000
    store.expire(now + 61)
    assert (store.held, store.parked, store.kept_bytes) == (0, 0, 0)
