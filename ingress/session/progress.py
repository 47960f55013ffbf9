"""How far a session has come: what its next connection must know beside its messages.

One record, written where things happen and read at the end: the reader counts frames and
requests on, the arrival of a returning client sets where they go on and takes the hold.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from ingress.resume.hold import Hold
from ingress.wire.words import RequestId


@dataclass(slots=True)
class Progress:
    """The facts of one session that a resume restores.

    Attributes:
        session: its id; a session that resumes has that of the one before.
        hold: its place in the store, from its welcome on; None before, and in the plain dialect.
        frame_seq: the newest frame's; -1 before the first.
        last_request: id of the newest request that has its reply, or a task that will reply.
    """

    session: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    hold: Hold | None = None
    frame_seq: int = -1
    last_request: RequestId | None = None

    @property
    def said_nothing(self) -> bool:
        """Whether there was no frame and no request."""
        return self.frame_seq < 0 and self.last_request is None

    def received(self, request: RequestId | None) -> None:
        """A request has its reply, or a task that will reply; None is one without an id."""
        if request is not None:
            self.last_request = request
