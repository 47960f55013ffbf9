"""The waiting frames of one session, and the credit that lets results out.

Rules
1. A mailbox is bounded; the newest frame wins, and what it displaced is
   returned, because every frame must end in a result, an error or a drop.
2. Credit is the protocol's own backpressure: a transport can buffer without
   bound and not say so (Serve's default proxy does), so only what the client
   acknowledges frees a place. A frame takes its place when it leaves the
   mailbox, so no result is ever made that may not be sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ingress.wire.pictures import Frame


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame and when it came, in seconds of the loop's clock."""

    frame: Frame
    received_at: float


class Mailbox:
    """Frames that wait for a call, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size_bytes(self) -> int:
        return sum(len(item.frame.image) for item in self._waiting)

    def put(self, item: Waiting, room: int) -> list[Waiting]:
        """Add the newest frame; returns the oldest ones that had to leave to keep ``room``."""
        assert room >= 1
        self._waiting.append(item)
        return [self._waiting.popleft() for _ in range(len(self._waiting) - room)]

    def take(self) -> Waiting | None:
        """The oldest waiting frame, or None."""
        return self._waiting.popleft() if self._waiting else None

    def take_newest(self) -> tuple[Waiting | None, list[Waiting]]:
        """The newest waiting frame, or None, and the older ones, which leave with it."""
        newest = self._waiting.pop() if self._waiting else None
        return newest, self.clear()

    def expired(self, before: float) -> list[Waiting]:
        """Remove and return the frames that came before that moment."""
        gone = []
        while self._waiting and self._waiting[0].received_at < before:
            gone.append(self._waiting.popleft())
        return gone

    def clear(self) -> list[Waiting]:
        """Remove and return everything."""
        gone, self._waiting = list(self._waiting), deque()
        return gone


class CreditWindow:
    """At most ``limit`` frames between leaving the mailbox and being acknowledged."""

    def __init__(self, limit: int, sent_seq: int = 0, acked_seq: int = 0) -> None:
        self.limit = limit
        self._under_way = 0
        self._sent_seq = sent_seq
        self._acked_seq = acked_seq

    @property
    def sent_seq(self) -> int:
        """The seq of the newest result; the first is 1."""
        return self._sent_seq

    @property
    def acked_seq(self) -> int:
        """The newest seq that was acknowledged; 0 before the first."""
        return self._acked_seq

    @property
    def unacked(self) -> int:
        return self._sent_seq - self._acked_seq

    @property
    def outstanding(self) -> int:
        """Places taken: frames under way and results not yet acknowledged."""
        return self._under_way + self.unacked

    @property
    def available(self) -> int:
        return self.limit - self.outstanding

    def reserve(self) -> None:
        """Take a place for a frame that leaves the mailbox."""
        assert self.available > 0
        self._under_way += 1

    def release(self) -> None:
        """Give back the place of a frame that ended without a result."""
        assert self._under_way > 0
        self._under_way -= 1

    def emit(self) -> int:
        """Turn a reserved place into an unacknowledged result; returns its seq."""
        self.release()
        self._sent_seq += 1
        return self._sent_seq

    def ack(self, seq: int) -> bool:
        """Free the places up to ``seq``; True where that freed any.

        Raises:
            AckAhead: no result of that seq was sent yet.
        """
        if seq > self._sent_seq:
            raise AckAhead(seq, self._sent_seq)
        freed = seq > self._acked_seq
        self._acked_seq = max(seq, self._acked_seq)
        return freed


class AckAhead(ValueError):
    """A client acknowledged what it was never sent."""

    def __init__(self, seq: int, sent_seq: int) -> None:
        super().__init__(f"ack: {seq} is ahead of the newest result, {sent_seq}")
