"""Every peer has its programs, its requirements, and a way in which it is spoken to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.load.speakers import SPEAKERS
from benchmarks.peers.roster import PEERS, ROOT, Peer
from benchmarks.plan import QUICK, WHOLE


def test_names_are_unique_and_plans_name_peers_that_there_are() -> None:
    names = [peer.name for peer in PEERS]
    assert len(set(names)) == len(names)
    for plan in (WHOLE, QUICK):
        assert {*plan.peers, *plan.overloaded} <= set(names)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_each_lies_where_its_record_says(peer: Peer) -> None:
    program = ROOT.joinpath(*peer.module.split(".")).with_suffix(".py")
    assert program.is_file()
    assert peer.requirements.is_file()
    assert peer.package in peer.requirements.read_text().lower()
    assert peer.speaks in SPEAKERS


def of_folder(folder: str) -> Callable[[Peer], bool]:
    return lambda peer: peer.folder == folder


def test_two_programs_of_one_framework_share_an_environment_and_a_log() -> None:
    one, other = filter(of_folder("mosec_server"), PEERS)
    assert one.module != other.module
    assert (one.venv, one.python, one.log) == (other.venv, other.python, other.log)
