"""What is wrong with a configuration is one line before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.launch.arguments import check_arguments
from deployments.launch.configuration import SERVE_YAML
from deployments.launch.refusal import CannotStart


def application(**more: str) -> str:
    keys = {"import_path": "deployments.app:build", **more}
    return f"applications: [{{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}]"


def test_the_shipped_configuration_may_start() -> None:
    check_arguments(SERVE_YAML)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("applications: [", "is no YAML"),
        ("\x07", "is no YAML"),
        ("- a list", "is no mapping"),
        ("http_options: {}", "no applications"),
        ("applications: {}", "no applications"),
        ("applications: [7]", "applications.0 is no mapping"),
        (application(route_prefix="segstream"), "applications.0.route_prefix is 'segstream'"),
        (application(route_prefix="null"), "begins with a slash"),
        (application(args="7"), "applications.0.args: input should be"),
        (application(args="{defalt_mode: person}"), 'did you mean "default_mode"'),
        (
            application(args="{ingress: {drain: {grace_s: 1}}}"),
            "applications.0.args: ingress: drain.grace_s is 1, below resume.store_timeout_s, 3",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(
    tmp_path: Path, content: str, words: str
) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(content)
    with pytest.raises(CannotStart) as refused:
        check_arguments(config)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(str(config))
    assert words in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"serve\.yaml cannot be read \(No such file"):
        check_arguments(tmp_path / "serve.yaml")


def test_of_another_builder_the_arguments_are_its_own(tmp_path: Path) -> None:
    config = tmp_path / "serve.yaml"
    config.write_text(application(import_path="other:app", args="{anything: 7}"))
    check_arguments(config)


@pytest.mark.parametrize(
    ("http", "admission", "words"),
    [
        ("{host: 0.0.0.0}", "{}", "http_options.host is 0.0.0.0, which others can reach"),
        ("{}", "{}", "http_options.host is 0.0.0.0"),  # Serve's own default
        ('{host: "::"}', "{max_sessions: 8}", "write auth: tokens or auth: jwt, or auth: none"),
        (
            "{host: 127.0.0.1}",
            "{auth: tokens, tokens: [{principal: ada, env: NO_SUCH_VARIABLE}]}",
            "ingress.admission.tokens, ada: the variable NO_SUCH_VARIABLE is empty",
        ),
    ],
)
def test_who_may_come_in_must_be_written_where_others_can_reach_it(
    tmp_path: Path, http: str, admission: str, words: str
) -> None:
    config = tmp_path / "serve.yaml"
    args = f"{{ingress: {{admission: {admission}}}}}"
    config.write_text(f"http_options: {http}\n{application(args=args)}")
    with pytest.raises(CannotStart) as refused:
        check_arguments(config)
    assert words in str(refused.value)


@pytest.mark.parametrize("http", ["{host: 0.0.0.0}", '{host: "::"}', "{host: localhost}", "{}"])
def test_where_it_is_written_it_may_start(tmp_path: Path, http: str) -> None:
    config = tmp_path / "serve.yaml"
    args = "{ingress: {admission: {auth: none}}}"
    config.write_text(f"http_options: {http}\n{application(args=args)}")
    check_arguments(config)
