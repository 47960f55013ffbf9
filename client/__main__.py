"""The command line: one picture in, one out; or a stream and what it achieves.

    python -m client ws://localhost:8000/ws --image a.jpg --output mask --out mask.png
    python -m client ws://localhost:8000/ws --sample --fps 30 --count 300
    python -m client ws://localhost:8000/ws --video clip.mp4 --viz overlay_opacity=0.4
    SEGSTREAM_TOKEN=... python -m client wss://seg.example/ws --sample

A connection that is lost on the way is opened again, and the session resumed;
each loss and each return is a line on stderr.

Exit codes: 0 done, 1 the server refused a frame or a setting, 2 a wrong
argument or an input that cannot be read, 3 no connection, or one that ended,
130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from client.arguments import parse
from client.outcomes import (
    CLOSED,
    Closed,
    Dropped,
    NoReply,
    NoResult,
    Refused,
    StreamError,
    Unreachable,
)
from client.session import Away, Back, Change, session
from client.sources import Source, Unreadable, encode_jpeg, open_source
from client.stream import Stream
from client.tally import Tally
from client.token import found
from ingress.wire.explain import nearest
from ingress.wire.pictures import Result

_LIVE_S = 0.5
_ATTEMPTS = 3
_REFUSED, _USAGE, _NO_CONNECTION, _INTERRUPTED = 1, 2, 3, 130

_EXIT_CODES: Mapping[type[Exception], int] = {
    NoResult: _REFUSED,
    Refused: _REFUSED,
    Unreadable: _USAGE,
    OSError: _USAGE,
    Unreachable: _NO_CONNECTION,
    Closed: _NO_CONNECTION,
    NoReply: _NO_CONNECTION,
}


async def run(arguments: argparse.Namespace) -> None:
    """Connect, set what is to be seen, then do the one picture or the stream."""
    image = await asyncio.to_thread(arguments.image.read_bytes) if arguments.image else None
    tally = Tally(time.monotonic())
    name, notify = "segstream-python cli", _Absences(tally).on_change
    token = await asyncio.to_thread(found, arguments.token_file)
    async with session(arguments.url, client=name, token=token, notify=notify) as stream:
        await _prepare(stream, arguments)
        if image is not None:
            await _one_picture(stream, image, arguments.out)
        else:
            await _many_pictures(stream, arguments, tally)
        if arguments.show_stats:
            stats = await stream.get_stats()
            print(json.dumps(stats.model_dump(exclude={"type", "reply_to"}), indent=2))


async def _prepare(stream: Stream, arguments: argparse.Namespace) -> None:
    if arguments.mode and arguments.mode != stream.mode:
        known = [mode.name for mode in stream.welcome.modes]
        if arguments.mode not in known:
            hint = nearest(arguments.mode, known) or f"; known are {', '.join(known)}"
            raise Unreadable(f"--mode: the server has no such mode{hint}")
        await stream.change_mode(arguments.mode)
    await stream.update_viz({"output": arguments.output, **dict(arguments.viz)})


async def _one_picture(stream: Stream, image: bytes, out: Path | None) -> None:
    result = await _segment(stream, image)
    if out:
        await asyncio.to_thread(out.write_bytes, result.payload)
    meta = result.meta
    found = ", ".join(f"{c.label} {c.share:.1%}" for c in meta.classes) or "nothing"
    took = sum(meta.stages_ms.values())
    print(f"{meta.mode}: {found}; {meta.width}x{meta.height} {meta.media_type}, {took:.1f} ms")


async def _segment(stream: Stream, image: bytes) -> Result:
    """The result; a picture whose connection was lost is sent again, but not for ever."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await stream.segment(image)
        except NoResult as lacking:
            lost = isinstance(lacking.outcome, Dropped) and lacking.outcome.cause == CLOSED
            if not lost:
                raise
    return await stream.segment(image)


async def _many_pictures(stream: Stream, arguments: argparse.Namespace, tally: Tally) -> None:
    """Send at the rate asked for, at most what the server keeps up with; count what comes."""
    source, close = open_source(arguments.video)
    tally.started = time.monotonic()
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_read(stream, tally))
            showing = tasks.create_task(_show(tally))
            await _send(stream, source, tally, arguments.fps, arguments.count)
            await stream.settled()
            reading.cancel()
            showing.cancel()
    finally:
        close()
        print(f"{_CLEAR}{tally.summary(time.monotonic())}")


async def _send(
    stream: Stream, source: Source, tally: Tally, fps: float, count: int | None
) -> None:
    started = time.monotonic()
    while count is None or tally.sent < count:
        due = started + tally.sent / fps
        now = time.monotonic()
        await asyncio.sleep(max(0.0, due - now))
        if due < now - 1 / fps:  # the server is slower: do not catch up in a burst
            started = now - tally.sent / fps
        image = await asyncio.to_thread(_encoded, source, time.monotonic() - started)
        if image is None:
            return
        await stream.send(image)
        tally.on_sent(time.monotonic())


def _encoded(source: Source, seconds: float) -> bytes | None:
    picture = source.at(seconds)
    return None if picture is None else encode_jpeg(picture)


async def _read(stream: Stream, tally: Tally) -> None:
    async for outcome in stream:
        tally.on_outcome(outcome, time.monotonic())


_CLEAR = "\r\033[K" if sys.stdout.isatty() else ""


async def _show(tally: Tally) -> None:
    """The live line, in place; nothing where the output is no terminal."""
    while _CLEAR:
        await asyncio.sleep(_LIVE_S)
        print(f"{_CLEAR}{tally.line(time.monotonic())}", end="", flush=True)


class _Absences:
    """Tells of lost connections on stderr: a line when one is lost, a line when it is back."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._told = False

    def on_change(self, change: Change) -> None:
        match change:
            case Away(end=end) if not self._told:
                self._told = True
                why = f" ({end.reason})" if end.reason else ""
                self._say(f"the connection closed with code {end.code}{why}; coming back")
            case Back(resumed=resumed, why=why, after_s=after_s):
                self._told = False
                self._tally.on_back(resumed=resumed)
                how = "session resumed" if resumed else f"new session ({why or 'not resumed'})"
                self._say(f"connected again after {after_s:.1f} s, {how}")

    def _say(self, words: str) -> None:
        print(f"{_CLEAR}client: {words}", file=sys.stderr)


def _first_of(error: BaseException) -> BaseException:
    """The error inside a task group's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(argv: Sequence[str]) -> int:
    """The exit code."""
    arguments = parse(argv)
    try:
        asyncio.run(run(arguments))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (StreamError, Unreadable, OSError, BaseExceptionGroup) as raised:
        error = _first_of(raised)
        codes = [code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)]
        if not codes:
            raise
        print(f"{_CLEAR}client: {error}", file=sys.stderr)
        return codes[0]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
