"""Honest clients beside each attack, and beside all of them together.

An honest client's p99 is at most twice its quiet value, and it is never silent for a second; the
server stays below its stated ceiling, and writes no more than a line per attacker and minute
beside the lines of disconnects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.attacks.attackers import ATTACKS
from tests.attacks.honest import Honest, Window
from tests.faults.books import wait_until
from tests.faults.crowd import Memory
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PROFILES = ("fast", "bare")
QUIET_S, ATTACK_S = 3.0, 5.0
WORSE, SILENT_S = 2.0, 1.0


@pytest.fixture(scope="module", params=PROFILES)
def app(request: pytest.FixtureRequest) -> Iterator[ServeApp]:
    with serve_app(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def honest(app: ServeApp) -> Iterator[Honest]:
    with Honest(app.port) as crowd:
        yield crowd


def lived(honest: Honest, seconds: float) -> Window:
    since = time.monotonic()
    time.sleep(seconds)  # what is measured is a time
    return honest.between(since, since + seconds)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_its_share(app: ServeApp, honest: Honest, attack: str) -> None:
    quiet = lived(honest, QUIET_S)
    with ATTACKS[attack].on(app.port):
        loud = lived(honest, ATTACK_S)
    print(f"\n{attack}: quiet {quiet}; loud {loud}")
    assert loud.silent_s < SILENT_S
    assert loud.p99_s < WORSE * quiet.p99_s
