"""One page for every replica: complete, exact, read by Prometheus, and there when one hangs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from deployments.launch.configuration import ROOT
from tests.integration.pictures import astronaut, jpeg
from tests.integration.prometheus_server import PROMETHEUS_YML, prometheus
from tests.integration.v1_client import v1
from tests.serve_app import ServeApp, serve_app
from tests.tools import tool

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

OPERATIONS = ROOT / "docs" / "operations.md"
PICTURE = jpeg(astronaut())
GATHER_TIMEOUT_S = 2.0
SLOW_MACHINE_S = 3.0
SCRAPES_AT_ONCE = 20
REPLICAS = {"ingress": 2, "segmenter-main": 2, "session-store": 1, "stats": 1}


TOKEN = "let me in"


def _in_pairs(args: Any) -> None:
    args["ingress"] |= {"replicas": 2, "metrics": {"gather_timeout_s": GATHER_TIMEOUT_S}}
    sha256 = hashlib.sha256(TOKEN.encode()).hexdigest()
    args["ingress"]["admission"]["operator_token_sha256"] = sha256
    args["pools"] = [{"name": "main", "modes": ["person"], "replicas": 2, "device": "cpu"}]


@pytest.fixture(scope="module")
def pair() -> Iterator[ServeApp]:
    """An application of its own: two replicas where one would hide what is lost, logs as JSON."""
    with serve_app("default", _in_pairs, encoding="JSON") as app:
        yield app


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process that hangs for a while."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def replicas_on_the_page(app: ServeApp) -> Counter[str]:
    """How many replicas of each deployment the page has."""
    found = {
        (sample.labels["deployment"], sample.labels["replica"])
        for family in text_string_to_metric_families(app.get("metrics").decode())
        for sample in family.samples
        if sample.name == "process_open_fds"
    }
    return Counter(deployment for deployment, _ in found)


async def until_on_the_page(app: ServeApp, replicas: dict[str, int]) -> None:
    deadline = time.monotonic() + 30
    while replicas_on_the_page(app) != replicas:
        assert time.monotonic() < deadline, replicas_on_the_page(app)
        await asyncio.sleep(0.1)  # the condition is in another process


def sessions(app: ServeApp, token: str | None = TOKEN) -> dict[str, Any]:
    """The answer of GET /api/sessions; raises HTTPError where it is refused."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{app.http}api/sessions", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


async def test_the_operator_sees_the_sessions_of_every_replica(pair: ServeApp) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(v1(pair.ws)) for _ in range(6)]
        for client in clients:
            await client.mask(PICTURE)
        answer = await asyncio.to_thread(sessions, pair)
    assert (answer["replicas"], answer["replicas_missing"]) == (2, 0)
    assert len(answer["sessions"]) == len({row["session"] for row in answer["sessions"]}) == 6
    for row in answer["sessions"]:
        assert (row["state"], row["dialect"], row["mode"]) == ("open", "v1", "person")
        assert row["resumable"] is True
        assert 0 <= row["silent_s"] <= row["age_s"] < 60
        assert row["credit"] in (3, 4)


@pytest.mark.parametrize("token", [None, "let me out", ""])
def test_nobody_else_sees_them(pair: ServeApp, token: str | None) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        sessions(pair, token)
    assert refused.value.code == 401
    assert refused.value.headers["www-authenticate"] == "Bearer"
    assert b"Authorization: Bearer TOKEN" in refused.value.read()


async def test_every_replica_of_every_deployment_is_on_the_page(pair: ServeApp) -> None:
    await until_on_the_page(pair, REPLICAS)
    text = pair.get("metrics").decode()
    heads = Counter(line.split()[2] for line in text.splitlines() if line.startswith("# HELP"))
    assert set(heads.values()) == {1}
    for name in (
        "process_resident_memory_bytes",
        "segstream_ws_disconnects_total",
        "segstream_segmenter_frames_total",
        "segstream_stats_calls_total",
        "segstream_store_held_sessions",
        "segstream_scrape_replicas_missing_total",
    ):
        assert f"\n{name}{{" in text
    assert pair.metric("process_resident_memory_bytes", deployment="stats") > 1e6
    assert pair.metric("segstream_segmenter_mode_loaded", mode="person") == 2


def test_promtool_has_nothing_to_say_about_the_page_and_the_configuration(pair: ServeApp) -> None:
    promtool = tool("promtool", package="prometheus")
    command = [promtool, "check", "metrics"]
    done = subprocess.run(command, input=pair.get("metrics"), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    subprocess.run([promtool, "check", "config", PROMETHEUS_YML], check=True, timeout=30)


async def test_totals_are_exact_over_all_replicas(pair: ServeApp) -> None:
    def counted() -> dict[str, float]:
        return {
            "connections": pair.metric("segstream_ws_connections_total"),
            "results": pair.metric("segstream_frames_total", outcome="result"),
            "segmented": pair.metric("segstream_segmenter_frames_total", outcome="result"),
            "rejected": pair.metric("segstream_segmenter_frames_total", outcome="rejected"),
            "batched": pair.metric("segstream_segmenter_batch_frames_sum"),
            "encoded": pair.metric("segstream_segmenter_stage_seconds_count", stage="encode"),
            "bugs": pair.metric("segstream_unhandled_exceptions_total"),
        }

    async def visit() -> None:
        async with v1(pair.ws) as client:
            for _ in range(3):
                await client.mask(PICTURE)
            await client.outcome(await client.send(b"no picture"))

    before = counted()
    await asyncio.gather(*(visit() for _ in range(6)))
    expected = {
        "connections": 6, "results": 18, "segmented": 18, "rejected": 6, "batched": 24,
        "encoded": 18, "bugs": 0,
    }  # fmt: skip
    for _ in range(4):  # whichever replica answers
        after = counted()
        assert {name: after[name] - before[name] for name in before} == expected


async def test_prometheus_counts_the_disconnects_that_were_made(
    pair: ServeApp, tmp_path: Path
) -> None:
    by_reason = "sum by (reason) (segstream_ws_disconnects_total)"
    with prometheus(pair.http.split("/")[2], tmp_path) as watcher:
        watcher.until(lambda: bool(watcher.query(by_reason, "reason")), "the first scrape")
        before = watcher.query(by_reason, "reason")
        for _ in range(5):
            async with connect(pair.ws) as leaving:
                await leaving.recv()
        for _ in range(3):
            async with connect(pair.ws) as lost:
                await lost.recv()
                lost.transport.abort()

        def made() -> dict[str, float]:
            after = watcher.query(by_reason, "reason")
            return {reason: after[reason] - before[reason] for reason in after}

        expected = dict.fromkeys(before, 0.0) | {"client_close": 5.0, "connection_lost": 3.0}
        await asyncio.to_thread(watcher.until, lambda: made() == expected, "the disconnects")
        there = "count by (deployment) (process_open_fds)"
        watcher.until(lambda: watcher.query(there, "deployment") == REPLICAS, "every replica")
        blocks = re.findall(r"```promql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
        assert blocks
        for promql in "".join(blocks).splitlines():
            watcher.query(promql, "deployment")  # an HTTP error where it is none


def test_every_line_of_the_log_is_an_object_and_a_sessions_end_has_its_figures(
    pair: ServeApp,
) -> None:
    files = pair.scratch.glob("ray/session_2*/logs/serve/replica_*.log")
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    ends = [line for line in lines if re.match(r"session \S+ ended: ", line["message"])]
    assert ends
    for end in ends:
        assert end["deployment"] == "segstream_ingress"
        assert end["reason"] in end["message"]
        assert end.keys() >= {
            "session", "initiator", "close_code", "dialect", "duration_s", "frames_in"
        }  # fmt: skip


async def test_a_replica_that_hangs_is_left_out_counted_and_holds_up_no_scrape(
    pair: ServeApp,
) -> None:
    missing = "segstream_scrape_replicas_missing_total"
    await until_on_the_page(pair, REPLICAS)
    before = pair.metric(missing, deployment="segmenter-main")
    with stopped(pair.replicas("segmenter-main")[0]):
        begun = time.monotonic()
        assert replicas_on_the_page(pair) == REPLICAS | {"segmenter-main": 1}
        assert time.monotonic() - begun < GATHER_TIMEOUT_S + SLOW_MACHINE_S
        begun = time.monotonic()
        with ThreadPoolExecutor(SCRAPES_AT_ONCE) as scrapers:
            pages = list(scrapers.map(replicas_on_the_page, [pair] * SCRAPES_AT_ONCE))
        assert time.monotonic() - begun < 2 * GATHER_TIMEOUT_S + SLOW_MACHINE_S
        assert all(page == REPLICAS | {"segmenter-main": 1} for page in pages)
    await until_on_the_page(pair, REPLICAS)
    counted = pair.metric(missing, deployment="segmenter-main") - before
    # The first scrape, then at most two gatherings on each of two ingress replicas.
    assert 2 <= counted <= 5
    assert "Traceback" not in pair.log()
    async with v1(pair.ws) as client:
        assert (await client.mask(PICTURE)).payload


async def test_a_replica_that_was_killed_takes_nothing_else_from_the_page(pair: ServeApp) -> None:
    pair.replicas("segmenter-main")[0].kill()
    page = replicas_on_the_page(pair)
    assert (page["ingress"], page["stats"]) == (2, 1)
    assert page["segmenter-main"] >= 1
