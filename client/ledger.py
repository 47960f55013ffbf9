"""The books of one stream: frames sent, outcomes waiting, results acknowledged.

Rules
1. A frame is unanswered until the first outcome that names it; later ones, and
   those that name a frame never sent, are ignored.
2. A place is taken when a frame is sent, and freed when its outcome is taken by
   the caller. So frames in flight and outcomes not yet read are bounded by the
   same limit, and a caller that stops reading stops sending.
3. What is fully received is acknowledged once, by the next frame or by an
   ``ack``; it is due at once when half of the credit is owed.
4. The numbers of frames grow for the life of the stream, over every session
   that it has; those of results start again with each session.

No I/O and no clock: ``client.stream`` drives this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from client.outcomes import CLOSED, Dropped, Failed, Outcome
from ingress.wire.pictures import Result
from ingress.wire.words import DropCause, ErrorCode

_MAX_NOTICES = 16


class Ledger:
    """At most ``limit`` frames between being sent and having their outcome taken."""

    def __init__(self, limit: int) -> None:
        assert limit >= 1
        self.limit = limit
        self._sent = 0
        self._unanswered: dict[int, Callable[[Outcome], None]] = {}
        self._ready: deque[Outcome] = deque()
        self._notices: deque[Failed] = deque(maxlen=_MAX_NOTICES)
        self._received = 0
        self._acknowledged = 0

    @property
    def received(self) -> int:
        """The highest seq of a result in this session; 0 before the first."""
        return self._received

    @property
    def has_room(self) -> bool:
        return len(self._unanswered) + len(self._ready) < self.limit

    @property
    def is_settled(self) -> bool:
        """Whether every frame sent has an outcome, and it was taken."""
        return not self._unanswered and not self._ready

    def open(self, deliver: Callable[[Outcome], None] | None = None) -> int:
        """Enter a frame; returns its seq. ``deliver``, where given, gets its outcome instead."""
        assert self.has_room
        self._sent += 1
        self._unanswered[self._sent] = deliver or self._ready.append
        return self._sent

    def take(self) -> Outcome | None:
        """The oldest outcome, or None. Errors about no one frame go first."""
        if self._notices:
            return self._notices.popleft()
        return self._ready.popleft() if self._ready else None

    def on_result(self, result: Result) -> None:
        """Enter a result, and that it was received."""
        self._received = max(self._received, result.seq)
        self._settle(result.frame_seq, result)

    def on_error(self, frame_seq: int | None, code: ErrorCode, message: str) -> None:
        """Enter an error; of those about no one frame the newest few are kept."""
        failed = Failed(frame_seq, code, message)
        if frame_seq is None:
            self._notices.append(failed)
        else:
            self._settle(frame_seq, failed)

    def on_dropped(self, frames: Sequence[int], cause: DropCause) -> None:
        """Enter frames that get no result."""
        for seq in frames:
            self._settle(seq, Dropped(seq, cause))

    def on_closed(self) -> None:
        """Settle whatever is unanswered: the connection is gone.

        What a resume replays for such a frame comes too late to be its outcome.
        """
        for seq in list(self._unanswered):
            self._settle(seq, Dropped(seq, CLOSED))

    def restart(self) -> None:
        """A new session: its results are numbered from 1."""
        self._received = self._acknowledged = 0

    def _settle(self, seq: int, outcome: Outcome) -> None:
        deliver = self._unanswered.pop(seq, None)
        if deliver is not None:
            deliver(outcome)

    @property
    def ack_is_urgent(self) -> bool:
        return (self._received - self._acknowledged) * 2 >= self.limit

    def acknowledge(self) -> int:
        """The seq to acknowledge in the message that is about to leave."""
        self._acknowledged = self._received
        return self._received
