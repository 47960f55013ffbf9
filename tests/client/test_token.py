"""Where the command line's token is, and that it is asked for before each connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.token import found, given


def test_nothing_is_found_where_nothing_is() -> None:
    assert given(found(None, {})) is None


def test_a_file_comes_before_the_variables(tmp_path: Path) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    named.write_text("from the file\n")
    other.write_text("from the other\n")
    environ = {"SEGSTREAM_TOKEN": "spoken", "SEGSTREAM_TOKEN_FILE": str(other)}
    assert given(found(named, environ)) == "from the file"
    assert given(found(None, environ)) == "spoken"
    assert given(found(None, {"SEGSTREAM_TOKEN_FILE": str(other)})) == "from the other"


def test_a_file_is_read_anew_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one")
    token = found(file, {})
    assert given(token) == "one"
    file.write_text("two")
    assert given(token) == "two"


def test_a_file_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        found(tmp_path / "nothing", {})
