"""The arguments: what is taken, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.arguments import parse

URL = "ws://127.0.0.1:9/ws"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "url"),
        ([URL], "one of the arguments --image --video --sample is required"),
        ([URL, "--sample", "--image", "a.jpg"], "not allowed with"),
        ([URL, "--sample", "--out", "a.png"], "--out needs --image"),
        ([URL, "--sample", "--fps", "0"], "expected a number above 0"),
        ([URL, "--sample", "--fps", "nan"], "expected a number above 0"),
        ([URL, "--sample", "--fps", "fast"], "expected a number above 0"),
        ([URL, "--sample", "--count", "0"], "expected a whole number"),
        ([URL, "--sample", "--viz", "opacity"], "expected KEY=VALUE"),
        ([URL, "--sample", "--output", "gif"], "invalid choice"),
    ],
)
def test_a_wrong_argument_exits_with_2_and_says_why(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_settings_are_json_or_else_words() -> None:
    arguments = ["overlay_opacity=0.4", "class_filter=[1,2]", "format=webp", "background=#ffffff"]
    given = parse([URL, "--sample", *(a for s in arguments for a in ("--viz", s))])
    assert dict(given.viz) == {
        "overlay_opacity": 0.4,
        "class_filter": [1, 2],
        "format": "webp",
        "background": "#ffffff",
    }


def test_a_token_is_named_by_its_file_and_never_said(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = parse(["ws://h/ws", "--sample", "--token-file", "secret"])
    assert arguments.token_file == Path("secret")
    with pytest.raises(SystemExit):
        parse(["ws://h/ws", "--sample", "--token", "secret"])
    assert "SEGSTREAM_TOKEN" not in capsys.readouterr().err
