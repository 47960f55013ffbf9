"""A client of v1 that holds the server to everything the protocol promises.

It keeps a book of its session across connections: how each frame ended, which requests
are open, and what must still come of those that the server had before a resume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingress.wire.pictures import Frame, encode_frame, parse_result
from ingress.wire.words import Dialect
from models.view import View
from tests.ingress.life.life import Life
from tests.ingress.life.replica import Replica
from tests.ingress.life.settings import EPSILON_S


@dataclass
class Known:
    """What a v1 client knows of its session."""

    session: str
    token: str
    last_seq: int = 0
    last_control: int = 0
    acked: int = 0
    frames: dict[int, str | None] = field(default_factory=dict)  # how each ended
    twice: list[int] = field(default_factory=list)  # seqs sent again on purpose
    order: list[str] = field(default_factory=list)  # ids of requests as they were sent
    open: dict[str, dict[str, Any]] = field(default_factory=dict)  # without a reply
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)  # never arrived


@dataclass
class Return:
    """A resume under way: what its client may expect of it."""

    trail: list[Life]  # the connection whose session it is, and attempts to have it back since
    must: bool  # nothing is in the way
    must_keep: bool  # nothing is in the way of its settings


class V1Client:
    """A client that keeps the protocol, and notices when the server does not.

    ``deaf`` clients read nothing; what they did not read when the connection is lost is lost.
    """

    def __init__(self, landed: Mapping[bytes, float]) -> None:
        """``landed``: when each result was made, by its picture."""
        self.life: Life | None = None
        self.known: Known | None = None
        self.trail: list[Life] = []  # since and with the newest connection that was welcomed
        self.greeted = False
        self.deaf = False
        self.doubt = False  # the client did something that may cost its session
        self.lied = False  # about its numbers; what was parked is given up for that
        self.trouble_at = -1e9  # when the store was last in trouble
        self.transit_s = 0.0  # how long a session may have been on its way to the store
        self._landed = landed
        self._here = 0
        self.frame_seq = 0
        self.request = 0
        self.returning: Return | None = None
        self._read = 0
        self._owed: tuple[set[str], set[int]] | None = None
        self.resumed = 0

    # -------------------------------------------------------------- what it does

    def connect(self, replica: Replica, *, dead: bool = False, stalled: bool = False) -> None:
        """Open a connection and leave the one before to its fate."""
        self.life = Life(replica, Dialect.V1, dead=dead, stalled=stalled)
        self._here = self.frame_seq  # frames up to this one were sent on other connections
        self._read, self.greeted, self._owed, self.returning = 0, False, None, None

    def hello(self, resume: Mapping[str, Any] | None = None) -> None:
        assert self.life is not None
        message = {"type": "hello", "id": "hello", **({"resume": resume} if resume else {})}
        self.life.wire.come(json.dumps(message))

    def credentials(self, **other: Any) -> dict[str, Any]:
        assert self.known is not None
        return {
            "session": self.known.session,
            "token": self.known.token,
            "last_seq": self.known.last_seq,
            "last_control": self.known.last_control,
            **other,
        }

    def say(self, **message: Any) -> None:
        assert self.life is not None
        self.life.wire.come(json.dumps(message))

    def send_frame(self, ack: int | None = None) -> None:
        assert self.life is not None
        assert self.known is not None
        self.frame_seq += 1
        self.known.frames[self.frame_seq] = None
        ack = self.known.last_seq if ack is None else ack
        if ack <= self.known.last_seq:
            self.known.acked = max(ack, self.known.acked)
        picture = f"{id(self)}:{self.known.session}:{self.frame_seq}".encode().ljust(600, b".")
        self.life.wire.come(encode_frame(Frame(self.frame_seq, ack, 0, picture)))

    def send_frame_again(self) -> None:
        assert self.life is not None
        assert self.known is not None
        self.known.twice.append(self.frame_seq)
        frame = Frame(self.frame_seq, 0, 0, b"again")
        self.life.wire.come(encode_frame(frame))

    def ask(self, **message: Any) -> None:
        assert self.known is not None
        self.request += 1
        self._ask(f"r{self.request}", message)

    def ask_again(self) -> None:
        """Send what the server says it never got."""
        assert self.known is not None
        lost, self.known.lost = self.known.lost, {}
        for name, message in lost.items():
            self._ask(name, message)

    def _ask(self, name: str, message: dict[str, Any]) -> None:
        assert self.known is not None
        self.known.order.append(name)
        self.known.open[name] = message
        self.say(id=name, **message)

    # -------------------------------------------------------------- what it is told

    def read(self, *, quiet: bool) -> None:
        """Take what has come; ``quiet``: nothing more would come without time passing."""
        if self.life is None or self.deaf or self.life.cut:
            return
        sent = self.life.wire.sent
        while self._read < len(sent):
            message = sent[self._read]
            self._read += 1
            if isinstance(message, bytes):
                self._on_result(message)
            else:
                self._on_text(json.loads(message))
        if quiet and self._owed and self.life.live and not self.life.wire.stalled:
            requests, frames = self._owed
            assert self.known is not None
            unanswered = requests & self.known.open.keys()
            assert not unanswered, f"received before the resume, no reply: {unanswered}"
            silent = {seq for seq in frames if self.known.frames[seq] is None}
            assert not silent, f"frames that the server had end in nothing: {silent}"
            self._owed = None

    def _on_text(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "welcome":
            self._on_welcome(message)
            return
        if kind in ("ping", "pong", "bye"):
            assert "control_seq" not in message
            return
        if not self.greeted:
            assert kind == "error"
            assert "control_seq" not in message, "a number before there is a session"
            return
        known = self.known
        assert known is not None
        assert message["control_seq"] == known.last_control + 1, "a gap, a double or a reorder"
        known.last_control += 1
        if "reply_to" in message:
            name = message["reply_to"]
            if name not in ("hello", "early"):  # said out of turn
                assert name in known.open, f"a second reply, or one to nothing: {message}"
                del known.open[name]
        if kind == "dropped":
            for seq in message["frames"]:
                self._end_frame(seq, "dropped")
        if "frame_seq" in message:
            if message["code"] == "BAD_MESSAGE" and message["frame_seq"] in known.twice:
                known.twice.remove(message["frame_seq"])
            else:
                self._end_frame(message["frame_seq"], "error")

    def _on_result(self, message: bytes) -> None:
        assert self.known is not None
        assert self.life is not None
        result = parse_result(message)
        if result.frame_seq <= self._here and not self.life.wire.ever_stalled:
            age_s = self.life.wire.sent_at[self._read - 1] - self._landed[result.payload]
            assert age_s <= 2 + self.transit_s + EPSILON_S, f"replayed after {age_s} s"
        assert result.seq > self.known.last_seq, "a result seq does not grow"
        assert result.seq > self.known.acked, "what was acked is replayed"
        self.known.last_seq = result.seq
        self._end_frame(result.frame_seq, "result")

    def _end_frame(self, seq: int, how: str) -> None:
        assert self.known is not None
        assert self.known.frames.get(seq, "never sent") is None, (
            f"frame {seq} ends as {how} and was {self.known.frames.get(seq, 'never sent')}"
        )
        self.known.frames[seq] = how

    def _on_welcome(self, message: dict[str, Any]) -> None:
        assert not self.greeted, "two welcomes"
        assert self.life is not None
        self.greeted = True
        back, self.returning = self.returning, None
        if back is not None:
            self._reconsider(back)
        if message["resumed"]:
            self._go_on(message, back)
        else:
            if back is not None:
                self._check_loss(message, back)
            self.known = Known(message["session"], message["resume_token"])
        self.doubt = self.lied = False
        self.trail = [self.life]

    def _reconsider(self, back: Return) -> None:
        """What happened between the hello and the welcome."""
        assert self.life is not None
        calm = self.trouble_at < self.life.born_at
        killed = [life for life in back.trail if life.killed]
        back.must = back.must and calm and not killed
        back.must_keep = back.must_keep and calm and all(life.settled for life in killed)

    def _check_loss(self, message: Mapping[str, Any], back: Return) -> None:
        """A session was not resumed: that has to have a reason."""
        why = message.get("why", "")
        assert self.known is not None
        if "were kept" in why:
            self._check_settings(message, back)
            if why.startswith("last_control"):
                rings = [life.session._ring for life in back.trail]
                last = self.known.last_control
                overflow = any(ring.newest - last > len(list(ring)) for ring in rings)
                assert overflow or not back.must, f"{why}; {self._history(back)}"
                return
        else:
            assert not back.must_keep, f"not kept: {why}; {self._history(back)}"
        assert not back.must, f"not resumed: {why}; {self._history(back)}"

    def _go_on(self, message: dict[str, Any], back: Return | None) -> None:
        assert back is not None
        assert self.known is not None
        assert self.life is not None
        self.resumed += 1
        assert message["session"] == self.known.session
        assert message["resume_token"] != self.known.token
        self._check_settings(message, back)
        known, newest = self.known, message.get("last_request")
        known.token = message["resume_token"]
        place = max((i for i, name in enumerate(known.order) if name == newest), default=-1)
        later = [name for name in known.order[place + 1 :] if name in known.open]
        known.lost |= {name: known.open.pop(name) for name in later}
        had = self.life.session._progress.frame_seq
        for seq, end in known.frames.items():
            if seq > had and end is None:
                known.frames[seq] = "lost on the way"
        frames = {seq for seq, end in known.frames.items() if end is None}
        self._owed = (set(known.open), frames)

    def _check_settings(self, message: Mapping[str, Any], back: Return) -> None:
        if not back.must_keep:
            return
        assert self.life is not None
        old, new = back.trail[0].session, self.life.session
        assert message["mode"] == old._scene.mode
        assert View.model_validate(message["viz"]) == old._scene.view
        assert new._arrival._commands.in_force == old._arrival._commands.in_force

    def _history(self, back: Return) -> str:
        return f"the connections before ended as {[life.reason for life in back.trail]}"
