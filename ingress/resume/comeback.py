"""A client that comes back: what it gets of its session.

The store decides whose the session is; the client's own numbers decide what it
lacks. Where a newer connection comes before the old one's loss was noticed, the
old one is made to let go first: one live connection per session.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from ingress.resume.parked import (
    Claim,
    ClaimRefused,
    NewestResult,
    Numbered,
    OthersSession,
    Parked,
    SessionSettings,
    SessionStore,
    StoreLost,
    Title,
    hash_token,
)
from ingress.wire.requests import ResumeRequest
from ingress.wire.words import OTHERS, REFUSED, SETTINGS_ONLY, STORE_LOST

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Resumed:
    """The session goes on; ``control`` and ``replayed`` are to be sent again."""

    session: str
    title: Title
    parked: Parked
    last_seq: int
    control: tuple[Numbered, ...]
    replayed: NewestResult | None


@dataclass(frozen=True, slots=True)
class Afresh:
    """A new session is to begin, with the settings of the old one where those are left."""

    why: str
    outcome: str
    settings: SessionSettings | None = None


async def come_back(
    store: SessionStore,
    request: ResumeRequest,
    origin: str | None,
    token: str,
    *,
    result_age_s: float,
    timeout_s: float,
    principal: str | None = None,
) -> Resumed | Afresh:
    """Claim the session that ``request`` asks for; ``token`` will be its newest."""
    try:
        async with asyncio.timeout(timeout_s):
            claim = await _claim(store, request, origin, principal, hash_token(token))
    except OthersSession as refused:
        return Afresh(str(refused), OTHERS)
    except ClaimRefused as refused:
        return Afresh(str(refused), REFUSED)
    except (StoreLost, TimeoutError):
        return Afresh("the session store does not answer; a new session was started", STORE_LOST)
    back = _resumed(request, claim, result_age_s)
    if isinstance(back, Afresh):
        # Its client asks once more if it never hears of this.
        title = replace(claim.title, serial=claim.title.serial + 1)
        with suppress(StoreLost, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await store.park(request.session, title, Parked(settings_only=True))
    return back


async def _claim(
    store: SessionStore,
    request: ResumeRequest,
    origin: str | None,
    principal: str | None,
    new_token: bytes,
) -> Claim:
    """Claim, and where another connection holds the session, have it let go and claim again."""
    given = hash_token(request.token)
    orphaned, clock = False, asyncio.get_running_loop().time
    for _ in range(_TRIES):
        asked_at = clock()
        claim = await store.claim(
            request.session, given, origin, new_token, principal=principal, orphaned=orphaned
        )
        if not claim.held:
            on_its_way_s = clock() - asked_at
            return replace(claim, parked=claim.parked and claim.parked.aged(on_its_way_s))
        orphaned = not await store.release(request.session)
    raise ClaimRefused("other connections keep taking the session; a new one was started")


def _resumed(request: ResumeRequest, claim: Claim, result_age_s: float) -> Resumed | Afresh:
    parked = claim.parked
    if parked is None or parked.settings_only:
        why = "what was sent meanwhile is not there any more; mode and view were kept"
        return Afresh(why, SETTINGS_ONLY, claim.title.settings)
    control = parked.control_after(request.last_control)
    if control is None:
        why = (
            f"last_control: {parked.control_seq} control messages were sent and "
            f"{len(parked.control)} are kept, so {request.last_control} cannot be followed; "
            "mode and view were kept"
        )
        return Afresh(why, SETTINGS_ONLY, claim.title.settings)
    if request.last_seq > parked.result_seq:
        why = (
            f"last_seq: {request.last_seq} is ahead of the newest result, {parked.result_seq}; "
            "mode and view were kept"
        )
        return Afresh(why, SETTINGS_ONLY, claim.title.settings)
    replayed = parked.young_result(request.last_seq, result_age_s)
    return Resumed(request.session, claim.title, parked, request.last_seq, control, replayed)
