"""What of the cluster's console a person sees; all of it is in the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from deployments.launch.console import FILE, Chooser, Console

REPLICA = "\x1b[36m(ServeReplica:segstream:ingress pid=49)\x1b[0m "
CONTROLLER = "\x1b[36m(ServeController pid=47)\x1b[0m "
PROXY = "\x1b[36m(ProxyActor pid=48)\x1b[0m "
AT = "2026-11-26 17:25:18,765"

CHATTER = [
    f"{AT[:-4]},700\tINFO scripts.py:489 -- Running config file: 'configs/serve.yaml'.",
    f"{CONTROLLER}INFO {AT} controller 47 -- Deploying new app 'segstream'.",
    f"{CONTROLLER}INFO {AT} serve 47 -- Throughput optimized Ray Serve enabled with:",
    f"{CONTROLLER}  • Direct ingress enabled",
    CONTROLLER,
    f"{CONTROLLER}WARNING {AT} controller 47 -- HTTPOptions.host='127.0.0.1' won't accept "
    "connections from HAProxy on other nodes; cross-node routing will fail",
    f"{PROXY}INFO {AT} proxy 192.0.2.2 697b677a -- Client for request 697b677a disconnected.",
    f"INFO {AT} serve 43 -- Started Serve in namespace \"serve\".",
]  # fmt: skip

WORTH = {
    f"{REPLICA}INFO {AT} segstream_ingress 89sw949n abc-1 -- session x ended: client_close":
        "INFO 17:25:18 segstream_ingress 89sw949n -- session x ended: client_close",
    f"{CONTROLLER}WARNING {AT} controller 47 -- it has taken more than 30s to initialize":
        "WARNING 17:25:18 controller 47 -- it has taken more than 30s to initialize",
    f"{PROXY}ERROR {AT} proxy 192.0.2.2 -- it broke":
        "ERROR 17:25:18 proxy 192.0.2.2 -- it broke",
    "(raylet) 1 worker was killed due to memory pressure (OOM)":
        "raylet: 1 worker was killed due to memory pressure (OOM)",
    "(autoscaler +12s) Error: No available node types can fulfill the request":
        "autoscaler +12s: Error: No available node types can fulfill the request",
}  # fmt: skip

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "a.py", line 3, in f',
    "RuntimeError: async generator ignored GeneratorExit",
]


def test_what_a_clean_start_says_is_for_the_file_alone() -> None:
    chooser = Chooser()
    assert [shown for line in CHATTER if (shown := chooser.shown(line))] == []


@pytest.mark.parametrize(("line", "shown"), WORTH.items())
def test_what_concerns_a_person_is_shown_without_rays_dress(line: str, shown: str) -> None:
    assert Chooser().shown(line) == shown


def test_a_traceback_is_shown_to_its_last_line_and_no_further() -> None:
    chooser = Chooser()
    chooser.shown(CHATTER[6])
    shown = [chooser.shown(f"{PROXY}{line}") for line in TRACEBACK]
    assert shown == [f"ProxyActor: {line}" for line in TRACEBACK]
    assert chooser.shown(CHATTER[6]) is None


def test_one_speakers_traceback_lets_no_other_through() -> None:
    chooser = Chooser()
    chooser.shown(CHATTER[1])
    chooser.shown(f"{PROXY}{TRACEBACK[0]}")
    assert chooser.shown(f"{CONTROLLER}  • Direct ingress enabled") is None


def test_after_a_stop_was_asked_for_only_replicas_are_heard() -> None:
    chooser = Chooser()
    chooser.stopping = True
    replicas, *others = WORTH
    assert chooser.shown(replicas) == WORTH[replicas]
    assert [chooser.shown(line) for line in (*others, TRACEBACK[0])] == [None] * 5


@pytest.fixture
def pipe() -> tuple[IO[bytes], IO[bytes]]:
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


@pytest.mark.parametrize("verbose", [False, True])
def test_every_line_is_in_the_file_whenever_it_was_named(
    pipe: tuple[IO[bytes], IO[bytes]], tmp_path: Path, verbose: bool
) -> None:
    theirs, ours = pipe
    seen: list[str] = []
    console = Console(theirs, verbose=verbose, show=seen.append)
    said = [*CHATTER, *WORTH, "not \udcff UTF-8"]
    raw = [f"{line}\n".encode(errors="surrogateescape") for line in said]
    with ours:
        ours.writelines(raw[:3])
        ours.flush()
        console.write_to(tmp_path)
        ours.writelines(raw[3:])
    console.close()
    written = (tmp_path / FILE).read_text().splitlines()
    assert len(written) == len(said)
    assert written[-1] == "not � UTF-8"
    assert written[:2] == said[:2]
    assert len(seen) == (len(said) if verbose else len(WORTH))
    assert not console.unheard()


def test_without_a_file_the_last_lines_are_kept(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    theirs, ours = pipe
    console = Console(theirs, verbose=False, show=lambda _: None)
    with ours:
        ours.writelines(b"line %d\n" % number for number in range(5000))
    console.close()
    kept = console.unheard()
    assert (kept[0], kept[-1]) == ("line 3000", "line 4999")
