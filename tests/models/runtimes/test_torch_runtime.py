from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.catalog import MODES, ModeSpec
from models.runtimes.torch_runtime import TorchRuntime

Reference = Callable[[ModeSpec], tuple[NDArray[np.uint8], NDArray[np.float32]]]

PERSON = MODES["person"]


@pytest.fixture(scope="module")
def on_cpu() -> TorchRuntime:
    return TorchRuntime(PERSON)


def test_the_cpu_computes_in_float32(on_cpu: TorchRuntime, reference: Reference) -> None:
    frame, expected = reference(PERSON)
    assert on_cpu.dtype == "float32"
    np.testing.assert_allclose(on_cpu.predict(frame), expected, rtol=0, atol=1e-4)


def test_frames_of_read_only_memory_are_taken(on_cpu: TorchRuntime, reference: Reference) -> None:
    frame, expected = reference(PERSON)
    frame.setflags(write=False)
    np.testing.assert_allclose(on_cpu.predict(frame), expected, rtol=0, atol=1e-4)


def test_threads_that_call_at_once_get_their_own_answers(
    on_cpu: TorchRuntime, reference: Reference
) -> None:
    frame, _ = reference(PERSON)
    frames = [np.roll(frame, 16 * i, axis=2) for i in range(6)]
    one_by_one = [on_cpu.predict(f) for f in frames]
    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(on_cpu.predict, frames))
    np.testing.assert_allclose(at_once, one_by_one, rtol=0, atol=1e-5)


def test_threads_are_set_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    TorchRuntime(PERSON, threads=1)
    assert asked == [1]
