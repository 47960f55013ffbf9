"""What waits to be sent on one connection: three lanes, all bounded.

Control messages (replies, errors, pings) go first and are never dropped: a
peer that lets them pile up past the bound is not reading, and ``on_full`` ends
its connection. Notices of dropped frames are gathered while the writer is
busy and leave as one control message per cause. Results are bounded by the session's
credit, so their lane needs no bound of its own.

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
from ingress.wire.replies import NUMBERED, Dropped, ServerMessage
from ingress.wire.text import encode_text, type_of
from ingress.wire.words import DropCause

_MAX_DROPS = 4096


def size_of(message: str | bytes) -> int:
    """Bytes of a message on the wire; ASCII text, which nearly all is, is not encoded to count."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to send, and the ``type`` under which it is counted."""

    kind: str
    data: str | bytes
    is_result: bool = False


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

    def number(self, ring: ControlRing) -> None:
        """From here on, number what a resume may have to send again, and keep it in ``ring``."""
        self._ring = ring

    def put_control(self, message: ServerMessage) -> None:
        """Append to the control lane; at its bound the message is let go and ``on_full`` called."""
        kind = type_of(type(message))
        if self._ring is not None and type(message) in NUMBERED:
            seq = self._ring.newest + 1
            text = encode_text(message.model_copy(update={"control_seq": seq}))
            self._ring.append(Numbered(seq, kind, text))
        else:
            text = encode_text(message)
        self._put(kind, text)

    def replay(self, message: Numbered) -> None:
        """Append a numbered message again; what is sent again comes on top of the bounds."""
        self._max_messages += 1
        self._max_bytes += size_of(message.text)
        self._put(message.kind, message.text)

    def _put(self, kind: str, text: str) -> None:
        size = size_of(text)
        if len(self._control) >= self._max_messages or self._control_bytes + size > self._max_bytes:
            self._on_full()
            return
        self._control.append(Outgoing(kind, text))
        self._control_bytes += size
        self._filled.set()

    def put_dropped(self, seq: int, cause: DropCause) -> None:
        """Note that the frame ``seq`` gets no result."""
        if len(self._drops.get(cause, ())) >= _MAX_DROPS:
            self.tell_drops()
        self._drops.setdefault(cause, []).append(seq)
        self._filled.set()

    def tell_drops(self) -> None:
        """Make messages of the notices; the writer is free for them, or the end has come."""
        while self._drops:
            self._tell_cause()

    def _tell_cause(self) -> None:
        cause, frames = self._drops.popitem()
        self.put_control(Dropped(frames=tuple(frames), cause=cause))

    def put_result(self, kind: str, data: str | bytes) -> None:
        """Append to the lane of results."""
        self._results.append(Outgoing(kind, data, is_result=True))
        self._results_bytes += size_of(data)
        self._filled.set()

    async def take(self) -> Outgoing:
        """The next message; waits for one."""
        while True:
            if self._drops and not self._control:
                self._tell_cause()
            if self._control:
                outgoing = self._control.popleft()
                self._control_bytes -= size_of(outgoing.data)
                return outgoing
            if self._results:
                outgoing = self._results.popleft()
                self._results_bytes -= size_of(outgoing.data)
                return outgoing
            self._filled.clear()
            await self._filled.wait()
