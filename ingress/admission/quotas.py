"""How many may be here: places, counted by address and by principal.

Rules
1. A socket has a place from its handshake to its end: until it is greeted an ungreeted one, of
   which there are few, all in all and of one address; then a session's.
2. New sessions get ``max_sessions`` places, returning ones ``returning_sessions`` more: who was
   here comes before who is new.
3. Loopback, and addresses that are not known, count towards the whole alone.

Nothing here waits, so a check and the step that it allows are one.
"""

from __future__ import annotations

from collections import Counter

from ingress.admission.refusal import Refused
from ingress.policy import Admission


class Quotas:
    """The places of one ingress replica."""

    def __init__(self, settings: Admission) -> None:
        self._settings = settings
        self._ungreeted_of: Counter[str] = Counter()
        self._sessions_of: Counter[str] = Counter()
        self._sessions_as: Counter[str] = Counter()
        self.ungreeted = 0
        self.sessions = 0

    def knock(self, address: str | None) -> None:
        """Whether one more socket of ``address`` may come; raises Refused."""
        settings = self._settings
        if self.ungreeted >= settings.max_ungreeted:
            raise Refused("ungreeted")
        if address is None:
            return
        if self._ungreeted_of[address] >= settings.ungreeted_per_address:
            raise Refused("address_ungreeted")
        here = self._sessions_of[address] + self._ungreeted_of[address]
        if here >= settings.sessions_per_address:
            raise Refused("address_sessions")

    def enter(self, address: str | None) -> Place:
        """A place for a socket that has knocked."""
        return Place(self, address)

    def has_room(self, *, returning: bool) -> bool:
        """Whether there is a place for one more session."""
        settings = self._settings
        extra = settings.returning_sessions if returning else 0
        return self.sessions < settings.max_sessions + extra

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

    def __init__(self, quotas: Quotas, address: str | None) -> None:
        self._quotas = quotas
        self._address = address
        self._principal: str | None = None
        self._greeted = self._left = False
        quotas._count_ungreeted(address, 1)

    def greet(self, principal: str | None, *, returning: bool) -> None:
        """Become a session of ``principal``; raises Refused, and is ungreeted still."""
        assert not self._greeted
        self._quotas._check(principal, returning=returning)
        self._quotas._count_ungreeted(self._address, -1)
        self._quotas._count_session(self._address, principal, 1)
        self._principal, self._greeted = principal, True

    def leave(self) -> None:
        """Give the place back."""
        if self._left:
            return
        self._left = True
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
