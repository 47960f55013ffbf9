"""The way from a replica to the store that all replicas share.

The store itself obeys the real rules; what can go wrong lies on the way: an ask arrives
and its answer does not, or both come late, or the replica is dead before either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ingress.resume.parked import Claim, ClaimRefused, Parked, Renewal, StoreLost, Title
from tests.ingress.fakes import FakeStore
from tests.ingress.life.settings import GROUPS

T = TypeVar("T")


class StoreLine(FakeStore):
    """One replica's line to the store that all share: slow, cut, or dead with its replica.

    What was asked arrives after half the delay even where the asker no longer waits for
    the answer; an answer that does not come in ``store_timeout_s`` is StoreLost.
    """

    def __init__(self, shared: FakeStore) -> None:
        self.memory = shared.memory
        self.rolls = []
        self._shared = shared
        self._timeout_s = float(GROUPS["resume"]["store_timeout_s"])
        self.dead = False

    async def _ask(self, act: Callable[[float], T]) -> T:
        loop = asyncio.get_running_loop()
        delay_s, answer = self._shared.delay_s, loop.create_future()

        def arrive() -> None:
            try:
                said: Any = act(loop.time())
            except ClaimRefused as refused:
                said = refused
            if not answer.done():
                answer.set_result(said)

        try:
            async with asyncio.timeout(self._timeout_s):
                if self.dead or self._shared.lost:
                    await asyncio.sleep(delay_s)
                    raise StoreLost("the store does not answer")
                if delay_s:
                    loop.call_later(delay_s / 2, arrive)
                else:
                    loop.call_soon(arrive)
                said = await answer
                await asyncio.sleep(delay_s / 2)
        except TimeoutError:
            raise StoreLost("the store does not answer in time") from None
        if isinstance(said, ClaimRefused):
            raise said
        return said  # type: ignore[no-any-return]

    async def hold(self, session: str, title: Title) -> None:
        await self._ask(lambda now: self.memory.hold(session, title, now))

    async def park(self, session: str, title: Title, parked: Parked) -> bool:
        return await self._ask(lambda now: self.memory.park(session, title, parked, now))

    async def claim(
        self, session: str, token: bytes, origin: str | None, new_token: bytes, *, orphaned: bool,
        principal: str | None = None,
    ) -> Claim:  # fmt: skip
        return await self._ask(
            lambda now: self.memory.claim(
                session, token, origin, new_token, now, orphaned=orphaned, principal=principal
            )
        )

    async def release(self, session: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                return any([await roll.release(session) for roll in self._shared.rolls])
        except TimeoutError:
            return False

    async def forget(self, session: str, title: Title) -> None:
        await self._ask(lambda now: self.memory.forget(session, title, now))

    async def renew(self, held: Mapping[bytes, str]) -> Renewal:
        return await self._ask(lambda now: self.memory.renew(held, now))
