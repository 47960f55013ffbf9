"""The credit that lets frames leave the mailbox, and so results out.

Credit is the protocol's own backpressure: a transport can buffer without bound and not say
so (Serve's default proxy does), so only what the client acknowledges frees a place. A frame
takes its place when it leaves the mailbox, so no result is ever made that may not be sent.
In a dialect without acknowledgements a result that has left stands for its own.
"""

from __future__ import annotations

from collections.abc import Callable


class Credit:
    """At most ``limit`` frames between leaving the mailbox and being acknowledged."""

    def __init__(self, limit: int, on_free: Callable[[], None]) -> None:
        """``on_free`` is called when a place was taken and is free again."""
        self.limit = limit
        self._on_free = on_free
        self._under_way = 0
        self._sent_seq = 0
        self._acked_seq = 0

    def restore(self, sent_seq: int, acked_seq: int) -> None:
        """Go on where a parked session ended, before the first frame."""
        self._sent_seq, self._acked_seq = sent_seq, acked_seq

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
        """Results that left and are not acknowledged."""
        return self._sent_seq - self._acked_seq

    @property
    def outstanding(self) -> int:
        """Places taken: frames under way and results not yet acknowledged."""
        return self._under_way + self.unacked

    @property
    def available(self) -> int:
        """Frames that may leave the mailbox now."""
        return self.limit - self.outstanding

    def reserve(self) -> None:
        """Take a place for a frame that leaves the mailbox."""
        assert self.available > 0
        self._under_way += 1

    def release(self) -> None:
        """Give back the place of a frame that ended without a result."""
        assert self._under_way > 0
        self._under_way -= 1
        self._on_free()

    def emit(self) -> int:
        """Turn a reserved place into an unacknowledged result; returns its seq."""
        assert self._under_way > 0
        self._under_way -= 1
        self._sent_seq += 1
        return self._sent_seq

    def ack(self, seq: int) -> None:
        """Free the places up to ``seq``.

        Raises:
            AckAhead: no result of that seq was sent yet.
        """
        if seq > self._sent_seq:
            raise AckAhead(seq, self._sent_seq)
        if seq > self._acked_seq:
            self._acked_seq = seq
            self._on_free()


class AckAhead(ValueError):
    """A client acknowledged what it was never sent."""

    def __init__(self, seq: int, sent_seq: int) -> None:
        super().__init__(f"ack: {seq} is ahead of the newest result, {sent_seq}")
