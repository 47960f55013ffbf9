"""The token of a cluster: one each, for its user alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deployments.launch.token import file_in, token_in, variables_of


def test_each_start_has_a_token_of_its_own_that_only_its_user_can_read(tmp_path: Path) -> None:
    first, second = variables_of(tmp_path), token_in(variables_of(tmp_path))
    path = Path(first["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert second is not None
    assert len(second) == 64
    assert token_in(variables_of(tmp_path)) != second


def test_the_token_is_found_again_in_the_environment(tmp_path: Path) -> None:
    env = variables_of(tmp_path)
    assert token_in(env) == Path(env["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert file_in(env) == env["RAY_AUTH_TOKEN_PATH"]


@pytest.mark.parametrize(
    ("theirs", "token"),
    [({"RAY_AUTH_MODE": "disabled"}, None), ({"RAY_AUTH_TOKEN": "given"}, "given")],
)
def test_what_the_user_has_set_wins(
    tmp_path: Path, theirs: dict[str, str], token: str | None
) -> None:
    env = {**variables_of(tmp_path), **theirs}
    assert token_in(env) == token
    assert file_in(env) is None
