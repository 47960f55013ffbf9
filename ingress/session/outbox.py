"""What waits to be sent on one connection: three lanes, all bounded.

Control messages (replies, errors, pings) go first and are never dropped: a
peer that lets them pile up past the bound is not reading, and ``on_full`` ends
its connection. Notices of dropped frames are gathered while the writer is
busy and leave as one control message per cause. Results are bounded by the session's
credit, so their lane needs no bound of its own; they are encoded when they are sent.

Once the session is known and can be resumed, replies, errors, drops and statistics are
numbered and kept in a ring as well, sent or not: what a returning client is sent
again. What is said before, errors about a client's first words, is of no session.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ingress.resume.parked import ControlRing, Numbered
from ingress.wire.pictures import PlainResult, Result
from ingress.wire.replies import NUMBERED, Dropped, ServerMessage
from ingress.wire.said import RESULT, Said, kind_of, size_of
from ingress.wire.text import encode_text, type_of
from ingress.wire.words import DropCause

_MAX_DROPS = 4096


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to send, and the ``type`` under which it is counted.

    ``said`` is the message itself where it was numbered, or sent before.
    """

    kind: str
    said: Said | str | bytes
    size_bytes: int
    is_result: bool = False


def _held_by(said: Said) -> int:
    """The bytes of the picture in it."""
    return len(said.payload) if isinstance(said, Result | PlainResult) else 0


class Outbox:
    """Messages in the order in which the one writer sends them."""

    def __init__(
        self,
        max_messages: int,
        max_bytes: int,
        on_full: Callable[[], None],
    ) -> None:
        self._ring: ControlRing | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._control: deque[Outgoing] = deque()
        self._control_bytes = 0
        self._drops: dict[DropCause, list[int]] = {}
        self._results: deque[Outgoing] = deque()
        self._results_bytes = 0
        self._filled = asyncio.Event()

    @property
    def size_bytes(self) -> int:
        """Bytes that wait, notices of drops not counted."""
        return self._control_bytes + self._results_bytes

    def holds(self, kind: str) -> bool:
        """Whether a control message of that kind still waits."""
        return any(outgoing.kind == kind for outgoing in self._control)

    def number(self, ring: ControlRing) -> None:
        """From here on, number what a resume may have to send again, and keep it in ``ring``."""
        self._ring = ring

    def put(self, message: ServerMessage) -> None:
        """Append to the control lane; at its bound the message is let go and ``on_full`` called.

        Drops are gathered first.
        """
        if isinstance(message, Dropped):
            self._gather(message)
        else:
            self._put_control(message)

    def _put_control(self, message: ServerMessage) -> None:
        kind = type_of(type(message))
        if self._ring is not None and type(message) in NUMBERED:
            seq = self._ring.newest + 1
            text = encode_text(message.model_copy(update={"control_seq": seq}))
            self._ring.append(Numbered(seq, kind, text))
        else:
            text = encode_text(message)
        self._put_text(kind, text)

    def replay(self, message: Numbered) -> None:
        """Append a numbered message again; what is sent again comes on top of the bounds."""
        self._max_messages += 1
        self._max_bytes += size_of(message.text)
        self._put_text(message.kind, message.text)

    def _put_text(self, kind: str, text: str) -> None:
        size = size_of(text)
        if len(self._control) >= self._max_messages or self._control_bytes + size > self._max_bytes:
            self._on_full()
            return
        self._control.append(Outgoing(kind, text, size))
        self._control_bytes += size
        self._filled.set()

    def _gather(self, dropped: Dropped) -> None:
        """Note which frames get no result."""
        if len(self._drops.get(dropped.cause, ())) >= _MAX_DROPS:
            self.tell_drops()
        self._drops.setdefault(dropped.cause, []).extend(dropped.frames)
        self._filled.set()

    def tell_drops(self) -> None:
        """Make messages of the notices; the writer is free for them, or the end has come."""
        while self._drops:
            self._tell_cause()

    def _tell_cause(self) -> None:
        cause, frames = self._drops.popitem()
        self._put_control(Dropped(frames=tuple(frames), cause=cause))

    def put_result(self, said: Said) -> None:
        """Append to the lane of results; errors are in it where they have their turn there."""
        self._put_result(Outgoing(kind_of(type(said)), said, _held_by(said), is_result=True))

    def replay_result(self, message: bytes) -> None:
        """Append a result again that was made before the connection was lost."""
        self._put_result(Outgoing(RESULT, message, len(message), is_result=True))

    def _put_result(self, outgoing: Outgoing) -> None:
        self._results.append(outgoing)
        self._results_bytes += outgoing.size_bytes
        self._filled.set()

    def end(self) -> None:
        """The connection has ended: what still waits is let go."""
        self._control.clear()
        self._results.clear()
        self._control_bytes = self._results_bytes = 0

    async def take(self) -> Outgoing:
        """The next message; waits for one."""
        while True:
            if self._drops and not self._control:
                self._tell_cause()
            if self._control:
                outgoing = self._control.popleft()
                self._control_bytes -= outgoing.size_bytes
                return outgoing
            if self._results:
                outgoing = self._results.popleft()
                self._results_bytes -= outgoing.size_bytes
                return outgoing
            self._filled.clear()
            await self._filled.wait()
