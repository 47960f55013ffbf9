"""HAProxy's statistics and metrics are switched off where Serve writes its configuration."""

from __future__ import annotations

import asyncio
from types import ModuleType

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import haproxy as serves

from deployments.serve import haproxy
from deployments.serve.haproxy import close_statistics

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
    def __init__(self) -> None:
        self.event_loop = asyncio.get_running_loop()
        self.reloads: list[str] = []

    async def _reload_haproxy(self) -> None:
        self.reloads.append(getattr(serves, TEMPLATE))


async def test_nothing_but_the_frontends_listens_and_the_configuration_is_written_anew(
    module: ModuleType,
) -> None:
    manager = Manager()
    before = getattr(module, TEMPLATE)
    for _ in range(2):
        assert await asyncio.to_thread(close_statistics, manager)
    async with asyncio.timeout(5):
        while not manager.reloads:  # noqa: ASYNC110 - it comes from another thread
            await asyncio.sleep(0)
    (after,) = manager.reloads
    assert set(binds(before)) - set(binds(after)) == {
        "bind :{{ config.metrics_port }}",
        "bind *:{{ config.stats_port }}",
    }
    assert all(line.startswith("bind {{ config.") for line in binds(after))
    assert "frontend http_frontend" in after


async def test_another_template_is_left_as_it_is(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, TEMPLATE, "frontend prometheus\n    bind :1\n")
    manager = Manager()
    with pytest.raises(AttributeError, match="listen stats"):
        close_statistics(manager)
    assert getattr(module, TEMPLATE) == "frontend prometheus\n    bind :1\n"
    assert not manager.reloads


def test_serve_still_has_the_manager_that_is_asked() -> None:
    assert haproxy.MANAGER in vars(serves)
