"""Serve's shutdown: its proxies stay until the deployments have gone, and who asked is answered."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import controller as serves

from deployments.serve import goodbye
from deployments.serve.goodbye import keep_proxies_to_the_last

GRACE_S = 9.0


class Proxies:
    """Serve's manager of proxies: they are gone one look after they were killed."""

    def __init__(self) -> None:
        self.killed = 0

    def shutdown(self) -> None:
        self.killed += 1

    def is_ready_for_shutdown(self) -> bool:
        return self.killed > 0


class Controller:
    """Serve's, whose shutdown is a step that it repeats."""

    def __init__(self) -> None:
        self.proxy_state_manager: Any = Proxies()
        self.gone = False
        self.deployment_state_manager = SimpleNamespace(is_ready_for_shutdown=lambda: self.gone)
        self._shutdown_event = asyncio.Event()

    def step(self) -> bool:
        """Whether it kills itself now."""
        self.proxy_state_manager.shutdown()
        return self.gone and bool(self.proxy_state_manager.is_ready_for_shutdown())

    @property
    def answered(self) -> bool:
        return self._shutdown_event.is_set()


@pytest.mark.parametrize("times", [1, 2])
def test_proxies_are_killed_when_the_deployments_have_gone(times: int) -> None:
    controller = Controller()
    proxies = controller.proxy_state_manager
    for _ in range(times):
        assert keep_proxies_to_the_last(GRACE_S, controller)
    assert not controller.step()
    assert proxies.killed == 0
    controller.gone = True
    assert not controller.step(), "who asked has not been answered"
    assert (proxies.killed, controller.answered) == (1, True)
    assert controller.step()


def test_deployments_that_do_not_go_keep_them_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(goodbye, "time", SimpleNamespace(monotonic=lambda: now))
    controller = Controller()
    keep_proxies_to_the_last(GRACE_S, controller)
    controller.step()
    now += GRACE_S + goodbye._MORE_S
    controller.step()
    assert controller.proxy_state_manager.killed == 0
    now += 0.1
    controller.step()
    assert controller.proxy_state_manager.killed == 1
    assert not controller.answered


def test_a_cluster_that_serves_no_http_has_no_proxies_to_keep() -> None:
    controller = Controller()
    controller.proxy_state_manager = None
    assert keep_proxies_to_the_last(GRACE_S, controller)


def test_another_controller_is_left_as_it_is() -> None:
    controller = Controller()
    del controller._shutdown_event
    with pytest.raises(AttributeError):
        keep_proxies_to_the_last(GRACE_S, controller)
    controller.step()
    assert controller.proxy_state_manager.killed == 1


def test_serve_still_shuts_down_in_these_steps() -> None:
    source = inspect.getsource(serves)
    assert f"class {goodbye.CONTROLLER}" in source
    for needed in (
        "self.proxy_state_manager.shutdown()",
        "self.proxy_state_manager.is_ready_for_shutdown()",
        "self.deployment_state_manager.is_ready_for_shutdown()",
        "await self._shutdown_event.wait()",
    ):
        assert needed in source
