"""The profiles: which one runs, and what it tells whom through the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.configuration import SERVE_YAML
from deployments.launch.profiles import choose_profile, environment
from deployments.launch.refusal import CannotStart


@pytest.mark.parametrize(
    ("wish", "haproxy", "profile"),
    [
        ("auto", True, "fast"),
        ("auto", False, "default"),
        ("default", True, "default"),
        ("fast", True, "fast"),
    ],
)
def test_the_profile_follows_the_platform(wish: str, haproxy: bool, profile: str) -> None:
    assert choose_profile(wish, haproxy=haproxy) == profile


def test_a_profile_that_cannot_be_is_refused() -> None:
    with pytest.raises(CannotStart, match="PROFILE=default"):
        choose_profile("fast", haproxy=False)


def test_the_fast_profile_is_haproxy_with_files_of_its_own(tmp_path: Path) -> None:
    env = environment("fast", tmp_path, SERVE_YAML)
    assert env["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert env["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"].startswith(str(tmp_path))
    assert env["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"] != "8500", "which all clusters share"
    assert "RAY_SERVE_ENABLE_HA_PROXY" not in environment("default", tmp_path, SERVE_YAML)


def test_what_the_user_has_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "7")
    assert environment("default", tmp_path, SERVE_YAML)["RAY_SERVE_CONTROL_LOOP_INTERVAL_S"] == "7"


def test_haproxy_is_told_what_the_configuration_says(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(
        "applications: [{args: {ingress: {keepalive: {heartbeat_s: 3, timeout_s: 4}}}}]"
    )
    env = environment("fast", tmp_path, config)
    assert env["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "14", "twice the silence that is allowed"


@pytest.mark.parametrize(
    "content", ["applications: []", "{}", "applications: [{args: {ingress: {replica: 1}}}]"]
)
def test_what_is_wrong_with_the_configuration_is_for_the_deployment_to_say(
    tmp_path: Path, content: str
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    env = environment("fast", tmp_path, config)
    assert env["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "40", "twice the silence by default"
