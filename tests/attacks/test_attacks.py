"""Honest clients beside each attack, and beside all of them together.

Four streams that are served as fast as they can be, so the machine is busy before an attack begins.
Meanwhile the p99 of their frames is at most twice its quiet value, and none of them is silent for
a second; the server keeps below its stated ceiling, writes at most a line per attacker and minute
beside the lines of disconnects, and no traceback; when it is over, nobody is left.

The machine is shared, and so is time on it: an attack that passes a bar is made again, with its
quiet time, up to ``TRIES`` times. What harms does so each time.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from ingress.settings import SessionLimits
from tests.attacks.attackers import ATTACKS, LARGE, LARGEST, attacked, noise
from tests.attacks.honest import Honest, Window
from tests.faults.books import wait_until
from tests.faults.raw_client import RawClient
from tests.serve_app import ServeApp, serve_app

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]

Record = Callable[[str, object], None]

PROFILES = ("default", "fast", "bare")
QUIET_S, ATTACK_S = 3.0, 4.0
WORSE, SILENT_S = 2.0, 1.0
TRIES = 3
# Serve says the third for each client of HTTP that has left, and the last in a file of its own.
_DISCONNECT = re.compile(
    r"session \S+ ended|connection \S+ ended|Client for request \S+ disconnected"
    r"|proxy \S+ \S+ -- (POST|WS|GET) /"
)
_PREFIX = re.compile(r"^.*?(?=(?:INFO|WARNING|ERROR) )")  # the console's, of the same line


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


def beside(app: ServeApp, honest: Honest, *attacks: str) -> dict[str, Window]:
    """What the honest see while these attacks are under way is within the bars; what it was."""
    told: list[str] = []
    for _ in range(TRIES):
        quiet = lived(honest, QUIET_S)
        with attacked(app.port, *attacks):
            loud = lived(honest, ATTACK_S)
        told.append(f"quiet {quiet}; attacked {loud}")
        sys.stdout.write(f"\n{', '.join(attacks)}: {told[-1]}\n")
        if loud.silent_s < SILENT_S and loud.p99_s <= WORSE * quiet.p99_s:
            return {"quiet": quiet, "attacked": loud}
    pytest.fail("\n".join(told))


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_its_share(
    app: ServeApp, honest: Honest, attack: str, record_property: Record
) -> None:
    for word, window in beside(app, honest, attack).items():
        record_property(word, window)


def test_all_attacks_together_cost_theirs(
    app: ServeApp, honest: Honest, record_property: Record
) -> None:
    known = lines_of(app)
    processes = [app.replica(name) for name in ("ingress", "segmenter-main")] + app.proxies()
    before = sum(process.memory_info().rss for process in processes)
    for word, window in beside(app, honest, *ATTACKS).items():
        record_property(word, window)
    grown = sum(process.memory_info().rss for process in processes) - before
    attackers = sum(attack.count for attack in ATTACKS.values())
    assert grown < attackers * SessionLimits().ceiling_bytes
    new = lines_of(app) - known
    beside_ends = [line for line in new if not _DISCONNECT.search(line)]
    assert len(beside_ends) <= attackers, beside_ends[:50]
    record_property("lines_beside_those_of_ends", len(beside_ends))
    record_property("MiB_grown", grown >> 20)
    assert not [line for line in new if "Traceback" in line]


def lines_of(app: ServeApp) -> set[str]:
    """What was said, each line once, though the console repeats those of the files."""
    return {_PREFIX.sub("", line) for line in app.log().splitlines()}


class SlowReader(RawClient):
    """A client that takes ``READS_PER_S`` bytes a second, steadily."""

    READS_PER_S = 128 * 1024

    def _read_more(self) -> None:
        super()._read_more()
        time.sleep((1 << 16) / self.READS_PER_S)


def test_a_steady_slow_reader_is_served(app: ServeApp, honest: Honest) -> None:
    """Whoever takes longer for one result than the server waits for who takes nothing."""
    with SlowReader(app.port, receive_buffer=1 << 16) as client:
        client.say({"type": "update_viz", "settings": LARGEST})
        client.frame(noise(LARGE))
        began, said = time.monotonic(), ""
        while said != "segmentation":
            said = str(client.next_message()["type"])
        assert time.monotonic() - began > SessionLimits().send_timeout_s


def test_nobody_is_left_and_everybody_counted(app: ServeApp, honest: Honest) -> None:
    def balanced() -> bool:
        opened = app.metric("segstream_ws_connections_total")
        ended = sum(s.value for s in app.samples() if s.name == "segstream_ws_disconnects_total")
        return opened - ended == honest.count

    # Who floods is not read, so that it left may be seen when its patience ends.
    patience_s = SessionLimits().control_patience_s + 45
    wait_until(balanced, "the honest alone are left", patience_s)
    assert app.metric("segstream_unhandled_exceptions_total") == 0
    assert app.metric("segstream_ws_handshakes_rejected_total", reason="requests") > 64, "in front"
