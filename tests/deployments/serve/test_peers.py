"""HAProxy is told to name the peers of requests, once, and only the one that we know."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve  # noqa: F401 - its submodules import each other in one order only
from ray.serve._private import haproxy as _haproxy

from deployments.serve.peers import name_peers
from ingress.admission.addresses import PEER_HEADER

haproxy: Any = _haproxy
RULE = f"    http-request set-header {PEER_HEADER} %[src]\n"


class Manager:
    """What is leaned on of Serve's HAProxyManager; its file follows the template at a reload."""

    def __init__(self, folder: Path, *, broadcast: bool = True) -> None:
        self.event_loop = SimpleNamespace(call_soon_threadsafe=lambda call: call())
        self._received_target_groups_broadcast = broadcast
        self._update_pending = False
        self._coalesce_task: asyncio.Future[None] | None = None
        self._haproxy = SimpleNamespace(config_file_path=str(folder / "haproxy.cfg"))
        self.reloads = 0

    def _schedule_haproxy_update(self) -> None:
        self.reloads += 1
        self._update_pending = True

    def reload(self) -> None:
        self._update_pending = False
        Path(self._haproxy.config_file_path).write_text(haproxy.HAPROXY_CONFIG_TEMPLATE)


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "HAPROXY_CONFIG_TEMPLATE", haproxy.HAPROXY_CONFIG_TEMPLATE)


def test_it_names_them_once_the_file_says_so(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    assert name_peers(manager) is False
    assert name_peers(manager) is False, "the reload is on its way"
    manager.reload()
    assert name_peers(manager) is True
    assert manager.reloads == 1
    written = Path(manager._haproxy.config_file_path).read_text()
    assert written.count(RULE) == 1
    frontend = written.index("frontend http_frontend")
    assert frontend < written.index(RULE) < written.index("default_backend default_backend")


def test_without_replicas_to_serve_no_reload_is_asked_for(tmp_path: Path) -> None:
    manager = Manager(tmp_path, broadcast=False)
    assert name_peers(manager) is False
    assert manager.reloads == 0
    assert name_peers(manager) is False, "there is no file yet"


async def test_while_haproxy_reloads_it_is_not_done(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    name_peers(manager)
    manager.reload()
    manager._coalesce_task = asyncio.get_running_loop().create_future()
    assert name_peers(manager) is False
    manager._coalesce_task.set_result(None)
    assert name_peers(manager) is True


def test_a_template_that_is_another_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy, "HAPROXY_CONFIG_TEMPLATE", "frontend of another kind\n")
    with pytest.raises(AttributeError, match="no such frontend"):
        name_peers(Manager(tmp_path))
    assert haproxy.HAPROXY_CONFIG_TEMPLATE == "frontend of another kind\n"


def test_serves_own_manager_has_what_is_leaned_on() -> None:
    source = inspect.getsource(haproxy)
    for name in ("_received_target_groups_broadcast", "_update_pending", "_coalesce_task"):
        assert f"self.{name}" in source
    assert "def _schedule_haproxy_update(self)" in source
    assert "self.config_file_path = config_file_path" in source
    assert "env.from_string(HAPROXY_CONFIG_TEMPLATE)" in source, "read at each writing"
