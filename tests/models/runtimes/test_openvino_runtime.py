import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.catalog import MODES, ModeSpec
from models.runtimes.openvino_runtime import OpenVinoRuntime, streams

# find_spec, not importorskip: importing openvino here would let it report its use.
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")

Reference = Callable[[ModeSpec], tuple[NDArray[np.uint8], NDArray[np.float32]]]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", params=MODES)
def runtime(request: pytest.FixtureRequest) -> OpenVinoRuntime:
    return OpenVinoRuntime(MODES[request.param], threads=2)


@pytest.fixture
def spec(runtime: OpenVinoRuntime, request: pytest.FixtureRequest) -> ModeSpec:
    return MODES[request.node.callspec.params["runtime"]]


def test_probabilities_equal_those_of_the_original_runtime(
    runtime: OpenVinoRuntime, spec: ModeSpec, reference: Reference
) -> None:
    frame, expected = reference(spec)
    np.testing.assert_allclose(runtime.predict(frame), expected, rtol=0, atol=1e-4)


def test_frames_of_a_batch_do_not_touch_each_other(
    runtime: OpenVinoRuntime, spec: ModeSpec, reference: Reference
) -> None:
    frame, _ = reference(spec)
    frames = np.concatenate([frame, frame[:, :, ::-1], 255 - frame])
    together = runtime.predict(frames)
    apart = np.concatenate([runtime.predict(frames[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-5)
    assert not np.allclose(together[0], together[2], atol=1e-2)


def test_more_threads_than_streams_get_their_own_answers(reference: Reference) -> None:
    spec = MODES["person-wide"]
    frame, _ = reference(spec)
    frame.setflags(write=False)
    frames = [np.roll(frame, 16 * i, axis=2) for i in range(12)]
    opened = OpenVinoRuntime(spec, threads=2)
    one_by_one = [opened.predict(f) for f in frames]
    with ThreadPoolExecutor(6) as pool:
        at_once = list(pool.map(opened.predict, frames))
    np.testing.assert_allclose(at_once, one_by_one, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("gmacs", "threads", "frames_at_once"),
    [(0.06, 1, 1), (0.06, 2, 2), (0.06, 16, 16), (4.0, 1, 1), (4.0, 2, 1), (19.8, 16, 4)],
)
def test_light_networks_run_a_frame_per_thread_and_heavy_ones_share(
    gmacs: float, threads: int, frames_at_once: int
) -> None:
    assert streams(replace(MODES["person"], gmacs=gmacs), threads) == frames_at_once


# The watch refuses what it sees, so that even a failing test reports nothing to anyone.
# It tells at exit, when threads of the background have been waited for. It begins behind the
# import of torch, whose CUDA build asks ldconfig where its libraries are.
WATCHED = """
import atexit, sys
import torch
seen = []
watched = ("socket.", "subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system")
def watch(event, args):
    if event.startswith(watched):
        seen.append(event)
        raise RuntimeError(event)
sys.addaudithook(watch)
atexit.register(lambda: print(*seen))
"""
OPEN_A_MODE = """
from models.catalog import MODES
from models.runtimes.choice import open_runtime
runtime = open_runtime(MODES["person-wide"], device="cpu", runtime="openvino")
assert runtime.name == "openvino"
"""
FORK_IN_A_THREAD = """
import os, threading
def fork():
    try:
        os.fork()
    except RuntimeError:
        pass
threading.Timer(0.01, fork).start()
"""


def watched_events(program: str, home: Path) -> list[str]:
    """The network and process events of a fresh interpreter, in a home that never opted out."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")
    }
    child = subprocess.run(
        [sys.executable, "-c", WATCHED + program],
        cwd=ROOT,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout.split()


def test_converting_a_mode_opens_no_socket_and_starts_no_process(tmp_path: Path) -> None:
    assert watched_events(OPEN_A_MODE, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_watch_sees_a_process_started_in_the_background(tmp_path: Path) -> None:
    assert watched_events(FORK_IN_A_THREAD, tmp_path) == ["os.fork"]
