"""HAProxy's statistics and metrics are switched off where Serve writes its configuration."""

from __future__ import annotations

import asyncio
from types import ModuleType

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import haproxy as serves

from deployments.serve import haproxy
from deployments.serve.haproxy import configure
from ingress.admission.addresses import PEER_HEADER

TEMPLATE = haproxy._TEMPLATE


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Serve's, as it is after the test, too."""
    monkeypatch.setattr(serves, TEMPLATE, getattr(serves, TEMPLATE))
    monkeypatch.setattr(serves, "segstream", None, raising=False)
    return serves


def binds(template: str) -> list[str]:
    lines = (line.strip() for line in template.splitlines())
    return [line for line in lines if line.startswith("bind ")]


class Manager:
    """``failures``: how many reloads fail; they wait for ``gate``."""

    def __init__(self, failures: int = 0) -> None:
        self.event_loop = asyncio.get_running_loop()
        self.reloads: list[str] = []
        self.failures = failures
        self.gate = asyncio.Event()
        self.gate.set()

    async def _reload_haproxy(self) -> None:
        self.reloads.append(getattr(serves, TEMPLATE))
        await self.gate.wait()
        if len(self.reloads) <= self.failures:
            raise RuntimeError("planted")


async def configured(manager: Manager) -> None:
    """Ask until it stands, as the outfitter does."""
    async with asyncio.timeout(5):
        while not await asyncio.to_thread(configure, manager):  # noqa: ASYNC110 - a thread
            await asyncio.sleep(0)


async def test_nothing_but_the_frontends_listens_and_the_configuration_is_written_anew(
    module: ModuleType,
) -> None:
    manager = Manager()
    before = getattr(module, TEMPLATE)
    for _ in range(2):
        await configured(manager)
    (after,) = manager.reloads
    assert set(binds(before)) - set(binds(after)) == {
        "bind :{{ config.metrics_port }}",
        "bind *:{{ config.stats_port }}",
    }
    assert all(line.startswith("bind {{ config.") for line in binds(after))
    assert "frontend http_frontend" in after


async def test_every_request_names_its_peer_and_no_client_does(module: ModuleType) -> None:
    manager = Manager()
    await configured(manager)
    (after,) = manager.reloads
    rule = f"http-request set-header {PEER_HEADER} %[src]\n"
    assert after.count(rule) == 1
    frontend, backends = after.index("frontend http_frontend"), after.index("backend default_back")
    assert frontend < after.index(rule) < backends


async def test_it_does_not_stand_before_haproxy_was_reloaded(module: ModuleType) -> None:
    manager = Manager()
    manager.gate.clear()
    for _ in range(3):
        assert not await asyncio.to_thread(configure, manager)
    manager.gate.set()
    await configured(manager)
    assert len(manager.reloads) == 1


async def test_a_reload_that_fails_is_tried_again(module: ModuleType) -> None:
    manager = Manager(failures=2)
    await configured(manager)
    assert len(manager.reloads) == 3


async def test_another_template_is_left_as_it_is(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, TEMPLATE, "frontend prometheus\n    bind :1\n")
    manager = Manager()
    with pytest.raises(AttributeError, match="listen stats"):
        configure(manager)
    assert getattr(module, TEMPLATE) == "frontend prometheus\n    bind :1\n"
    assert not manager.reloads


def test_serve_still_has_the_manager_that_is_asked() -> None:
    assert haproxy.MANAGER in vars(serves)
