"""Titles and parked sessions, for the tests of what is kept and of who gets it."""

from __future__ import annotations

from ingress.resume.memory_store import MemoryStore
from ingress.resume.parked import NewestResult, Numbered, Parked, SessionSettings, Title, hash_token
from ingress.resume.shares import _OWNER_BYTES
from models.view import View

SETTINGS = SessionSettings("person", View())
T1, T2, T3, T4 = (hash_token(name) for name in ("t1", "t2", "t3", "t4"))
ORIGIN = "https://page.example"


def title(
    *tokens: bytes, serial: int = 1, mode: str = "person", address: str | None = None,
    principal: str | None = None, claims: int = 0,
) -> Title:  # fmt: skip
    settings = SessionSettings(mode, View())
    return Title(tokens or (T1,), ORIGIN, settings, serial, principal, address, claims)


def counted(store: MemoryStore) -> int:
    """What a store keeps in bytes, counted anew: each record, and the tables of each owner."""
    records = [*store._held.values(), *store._parked.values()]
    owners = {record.title.owner for record in records}
    return sum(record.size_bytes for record in records) + _OWNER_BYTES * len(owners)


def numbered(seq: int, text: str = "x") -> Numbered:
    return Numbered(seq, "stats", text)


def parked(results: int = 3, *, age_s: float = 0.5, control: int = 2) -> Parked:
    return Parked(
        control=tuple(numbered(seq) for seq in range(1, control + 1)),
        control_seq=control,
        result_seq=results,
        frame_seq=10 + results,
        unacked=tuple((seq, 10 + seq) for seq in range(1, results + 1)),
        newest=NewestResult(results, 10 + results, b"picture", age_s),
    )
