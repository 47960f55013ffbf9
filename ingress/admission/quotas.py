"""How many may be here: places, counted by address and by principal.

Rules
1. A socket has a place from its handshake to its end: until it is greeted an ungreeted one, of
   which there are few, all in all and of one address; then a session's.
2. New sessions get ``max_sessions`` places, returning ones ``returning_sessions`` more: who was
   here comes before who is new.
3. Loopback, and addresses that are not known, count towards the whole alone.
4. Where the ungreeted have no place left, the oldest gives way to the next, once it has had
   ``ungreeted_grace_s`` to say hello: silent sockets keep nobody out for longer than that.

Nothing here waits, so a check and the step that it allows are one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from ingress.admission.refusal import Refused
from ingress.policy import Admission


class Quotas:
    """The places of one ingress replica."""

    def __init__(self, settings: Admission, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._silent: dict[Place, float] = {}  # that can give way, with when they came, in order
        self._ungreeted_of: Counter[str] = Counter()
        self._sessions_of: Counter[str] = Counter()
        self._sessions_as: Counter[str] = Counter()
        self.ungreeted = 0
        self.sessions = 0

    def knock(self, address: str | None) -> None:
        """Whether one more socket of ``address`` may come; raises Refused.

        A silent socket may be made to give way.
        """
        if address is not None:
            self._check_address(address)
        if self.ungreeted >= self._settings.max_ungreeted and not self._made_room():
            raise Refused("ungreeted")

    def enter(self, address: str | None, give_way: Callable[[], None] | None = None) -> Place:
        """A place for a socket that has knocked; ``give_way`` has lost it where it is called."""
        place = Place(self, address, give_way)
        if give_way is not None:
            self._silent[place] = self._clock()
        return place

    def has_room(self, *, returning: bool) -> bool:
        """Whether there is a place for one more session."""
        settings = self._settings
        extra = settings.returning_sessions if returning else 0
        return self.sessions < settings.max_sessions + extra

    def _check_address(self, address: str) -> None:
        settings = self._settings
        if self._ungreeted_of[address] >= settings.ungreeted_per_address:
            raise Refused("address_ungreeted")
        here = self._sessions_of[address] + self._ungreeted_of[address]
        if here >= settings.sessions_per_address:
            raise Refused("address_sessions")

    def _made_room(self) -> bool:
        """Whether the oldest of the silent, if it has had its time, has given way."""
        for place, came_at in self._silent.items():
            if self._clock() < came_at + self._settings.ungreeted_grace_s:
                break
            place.give_way()
            return True
        return False

    def _check(self, principal: str | None, *, returning: bool) -> None:
        if not self.has_room(returning=returning):
            raise Refused("sessions")
        limit = self._settings.sessions_per_principal
        if principal is not None and self._sessions_as[principal] >= limit + returning:
            raise Refused("principal_sessions")

    def _count_ungreeted(self, address: str | None, by: int) -> None:
        self.ungreeted += by
        _count(self._ungreeted_of, address, by)

    def _count_session(self, address: str | None, principal: str | None, by: int) -> None:
        self.sessions += by
        _count(self._sessions_of, address, by)
        _count(self._sessions_as, principal, by)


class Place:
    """One socket's place; ``leave`` gives it back, once."""

    def __init__(
        self, quotas: Quotas, address: str | None, give_way: Callable[[], None] | None
    ) -> None:
        self._quotas = quotas
        self._address = address
        self._give_way = give_way
        self._principal: str | None = None
        self._greeted = self._left = False
        quotas._count_ungreeted(address, 1)

    def greet(self, principal: str | None, *, returning: bool) -> None:
        """Become a session of ``principal``; raises Refused, and is ungreeted still."""
        assert not self._greeted
        if self._left:  # it has just given way
            raise Refused("ungreeted")
        self._quotas._check(principal, returning=returning)
        self._quotas._count_ungreeted(self._address, -1)
        self._quotas._count_session(self._address, principal, 1)
        self._quotas._silent.pop(self, None)
        self._principal, self._greeted = principal, True

    def give_way(self) -> None:
        """Give the place back, and say so to whose it was."""
        self.leave()
        if self._give_way is not None:
            self._give_way()

    def leave(self) -> None:
        """Give the place back."""
        if self._left:
            return
        self._left = True
        self._quotas._silent.pop(self, None)
        if self._greeted:
            self._quotas._count_session(self._address, self._principal, -1)
        else:
            self._quotas._count_ungreeted(self._address, -1)


def _count(counter: Counter[str], key: str | None, by: int) -> None:
    """What is at 0 is forgotten: strangers' addresses are not collected."""
    if key is None:
        return
    counter[key] += by
    if not counter[key]:
        del counter[key]
