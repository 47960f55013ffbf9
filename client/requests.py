"""Requests under way, in the order in which they were sent.

Rules
1. A request is here from when it is sent until its caller has what came of it.
2. Ids grow, so the order of ids is the order of sending. A server that names
   the newest request it received has received all before it.
3. A lost connection answers nothing: what the server received is answered by
   the replay, the rest is sent again. The end of the session answers all.

No I/O: ``client.lane`` drives this.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from client.outcomes import End
from ingress.wire.replies import ServerMessage
from ingress.wire.requests import ClientMessage
from ingress.wire.text import encode_text
from ingress.wire.words import BadMessage, RequestId

Answer = asyncio.Future[ServerMessage | End]


def _new_answer() -> Answer:
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its text as it is sent, and what comes of it."""

    id: int
    text: str
    answer: Answer = field(default_factory=_new_answer)


class Requests:
    """The book of them; one for the life of a stream."""

    def __init__(self) -> None:
        self._newest = 0
        self._under_way: dict[int, Request] = {}

    def open(self, message: ClientMessage) -> Request:
        """Number a request and enter it; it must be sent before the next one is entered."""
        self._newest += 1
        text = encode_text(message.model_copy(update={"id": self._newest}))
        request = self._under_way[self._newest] = Request(self._newest, text)
        return request

    def close(self, request: Request) -> None:
        """Its caller waits no longer."""
        self._under_way.pop(request.id, None)
        request.answer.cancel()

    def settle(self, reply: ServerMessage) -> bool:
        """Hand a reply to its request; False where none waits for it."""
        request = self._under_way.get(reply.reply_to) if isinstance(reply.reply_to, int) else None
        if request is None or request.answer.done():
            return False
        request.answer.set_result(reply)
        return True

    def after(self, last: RequestId | None) -> list[str]:
        """The texts of those that were sent after ``last``, which the server received.

        Raises:
            BadMessage: ``last`` is no request of this stream.
        """
        if last is None:
            last = 0
        if not isinstance(last, int) or not 0 <= last <= self._newest:
            raise BadMessage(f"welcome: last_request {last!r} was never sent")
        waiting = (r for r in self._under_way.values() if not r.answer.done())
        return [request.text for request in waiting if request.id > last]

    def fail(self, end: End) -> None:
        """The session is over: nothing under way will have a reply."""
        for request in self._under_way.values():
            if not request.answer.done():
                request.answer.set_result(end)
