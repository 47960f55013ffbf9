"""Titles and parked sessions, for the tests of what is kept and of who gets it."""

from __future__ import annotations

from ingress.resume.parked import NewestResult, Numbered, Parked, SessionSettings, Title, hash_token
from models.view import View

SETTINGS = SessionSettings("person", View())
T1, T2, T3, T4 = (hash_token(name) for name in ("t1", "t2", "t3", "t4"))
ORIGIN = "https://page.example"


def title(*tokens: bytes, serial: int = 1, mode: str = "person") -> Title:
    return Title(tokens or (T1,), ORIGIN, SessionSettings(mode, View()), serial)


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
