"""The arguments of the command line: what may be asked for, and what is said of a wrong one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, checked; argparse leaves with code 2 on a wrong one."""
    parser = argparse.ArgumentParser(
        "python -m client",
        allow_abbrev=False,  # --token, with the token itself, must not pass for --token-file
        description="Segment a picture or a stream of them.",
        epilog="Exit codes: 0 done, 1 refused by the server, 2 wrong argument or unreadable "
        "input, 3 no connection, 130 interrupted.",
    )
    parser.add_argument("url", help="the server's endpoint, ws://host:port/ws")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", type=Path, metavar="FILE", help="one JPEG, PNG or WebP picture")
    source.add_argument("--video", metavar="FILE|INDEX", help="a video file, or a camera's index")
    source.add_argument("--sample", action="store_true", help="the built-in moving clip")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="the sign-in token; else SEGSTREAM_TOKEN, or the file that SEGSTREAM_TOKEN_FILE names",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --image: write the payload")
    parser.add_argument("--mode", help="what to segment; the server's default if not given")
    parser.add_argument("--output", choices=("mask", "overlay", "alpha", "none"), default="mask")
    parser.add_argument(
        "--viz",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=VALUE",
        help="a setting of the view, such as overlay_opacity=0.4; may be repeated",
    )
    parser.add_argument("--fps", type=_positive, default=30.0, help="frames offered per second")
    parser.add_argument("--count", type=_count, metavar="N", help="stop after so many frames")
    parser.add_argument("--show-stats", action="store_true", help="print the server's statistics")
    arguments = parser.parse_args(argv)
    if arguments.out and not arguments.image:
        parser.error("--out needs --image")
    return arguments


def _setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``; VALUE is JSON where it reads as such, else a string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError("expected KEY=VALUE, such as overlay_opacity=0.4")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError("expected a number above 0, at most 1000")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("expected a whole number, 1 or more")
    return int(text)
