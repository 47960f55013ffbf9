"""Environments are made once, and one that cannot be made says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import environments
from benchmarks.peers.environments import (
    SHARED,
    Unavailable,
    clean_environment,
    environment,
    last_line,
)
from benchmarks.peers.roster import PEERS, Peer

PEER = PEERS[0]


@pytest.fixture
def venvs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where environments lie instead; PEER's is an empty folder."""
    monkeypatch.setattr("benchmarks.peers.roster.VENVS", tmp_path)
    PEER.venv.mkdir()
    return tmp_path


def test_an_environment_is_made_once_for_what_it_is_made_from(
    venvs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    told: list[str] = []
    monkeypatch.setattr(environments, "_install", lambda peer: made.append(peer.name))
    for _ in range(2):
        assert environment(PEER, told.append) == PEER.python
    assert made == [PEER.name]
    assert told == [f"{PEER.name}: installing benchmarks/peers/original/requirements.txt"]
    monkeypatch.setattr(sys, "version", "another interpreter")
    environment(PEER, told.append)
    assert made == [PEER.name] * 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (subprocess.CalledProcessError(1, "pip", "out", "ERROR: a\nERROR: no wheel\n\n"), "no wh"),
        (subprocess.CalledProcessError(1, "pip", "out: broken\n", ""), "out: broken"),
        (subprocess.TimeoutExpired("pip", 600), "not installed after 600 s"),
    ],
)
def test_one_that_cannot_be_made_is_unavailable_for_pips_reason_and_is_tried_again(
    venvs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    tries: list[Peer] = []

    def install(peer: Peer) -> None:
        tries.append(peer)
        raise error

    monkeypatch.setattr(environments, "_install", install)
    for _ in range(2):
        made = environment(PEER, lambda words: None)
        assert isinstance(made, Unavailable)
        assert made.peer is PEER
        assert reason in made.reason
    assert len(tries) == 2


@pytest.mark.parametrize(("module", "is_ours"), [("numpy", True), ("torch", False)])
def test_a_shared_package_that_is_not_the_projects_fails_the_installation(
    monkeypatch: pytest.MonkeyPatch, module: str, is_ours: bool
) -> None:
    origin = "/project/numpy/__init__.py" if is_ours else "/peer/torch/__init__.py"
    monkeypatch.setattr(environments, "_run", lambda *_: f'{{"{module}": "{origin}"}}')
    check = environments._check_shared
    if is_ours:
        check(PEER, Path("/project"))
        return
    with pytest.raises(subprocess.CalledProcessError) as caught:
        check(PEER, Path("/project"))
    assert caught.value.stderr == f"torch comes from {origin}, not from /project"


def test_where_this_interpreter_has_its_shared_packages_can_be_asked() -> None:
    found = environments._run(Path(sys.executable), "-c", environments._ORIGINS, *SHARED, "nowhere")
    for module in SHARED:
        assert f"/{module}/__init__" in found
    assert '"nowhere": null' in found


def test_a_peer_is_not_led_into_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("LANG", "C")
    cleaned = clean_environment()
    assert "/ours" not in cleaned.values()
    assert cleaned["LANG"] == "C"


@pytest.mark.parametrize(
    ("text", "line"), [("a\n b \n\n", "b"), ("", "no reason given"), ("\n \n", "no reason given")]
)
def test_the_last_line_is_the_last_that_says_something(text: str, line: str) -> None:
    assert last_line(text) == line
