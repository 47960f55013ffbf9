"""A frame's way: the rooms that it passes, each once in and once out.

The way is written here and nowhere else. ``python -m docs.way`` writes it into README.md and
docs/architecture.md, between their marks; tests/docs/test_way.py follows a frame and compares the
files that it passes with these.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BEGIN, _END = "<!-- the way: written by python -m docs.way -->", "<!-- the way ends -->"


@dataclass(frozen=True, slots=True)
class Step:
    """A file that has a part in the way, and which; ``beside`` are those that it has help from."""

    file: str
    does: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """One room, from the client inwards: what happens to a frame there, and in which files."""

    place: str
    inwards: str
    outwards: str
    way_in: tuple[Step, ...]
    way_out: tuple[Step, ...]


WAY = (
    Room(
        "ingress/door",
        "a message, or the one `Disconnect` in its place",
        "the one gate: nothing leaves after the end",
        (
            Step("ingress/door/transport.py", "a message, or the one `Disconnect` in its place"),
            Step("ingress/door/connection.py", "knows where the connection is in its life"),
        ),
        (
            Step("ingress/door/connection.py", "the one gate: nothing leaves after the end"),
            Step("ingress/door/transport.py", "hands over, with a deadline and within a window"),
        ),
    ),
    Room(
        "ingress/wire",
        "bytes become a `Frame`, or an error for its sender",
        "a `Result` becomes bytes",
        (
            Step(
                "ingress/wire/heard.py",
                "bytes become a `Frame`; what is bad is an error for its sender",
                ("ingress/wire/said.py", "ingress/wire/pictures.py"),
            ),
        ),
        (Step("ingress/wire/said.py", "a `Result` becomes bytes", ("ingress/wire/pictures.py",)),),
    ),
    Room(
        "ingress/session",
        "the newest frame waits; what it displaced is told",
        "each frame ends once, in its turn, within the credit",
        (
            Step(
                "ingress/session/reader.py",
                "order, size, rate and credit are checked",
                ("ingress/session/allowance.py",),
            ),
            Step(
                "ingress/session/mailbox.py",
                "the newest waits, and what it displaced is told; a call takes it",
                ("ingress/session/delivery.py",),
            ),
        ),
        (
            Step(
                "ingress/session/delivery.py",
                "each frame ends once, in its turn, in the words of its dialect",
                ("ingress/session/account.py", "ingress/session/dialects.py"),
            ),
            Step("ingress/session/outbox.py", "waits for the writer; replies go first"),
            Step("ingress/session/writer.py", "the only task that sends"),
        ),
    ),
    Room(
        "ingress/dispatch",
        "a free call takes one frame of each waiting session",
        "every flight lands once",
        (
            Step(
                "ingress/dispatch/dispatcher.py",
                "a free call takes one frame of each waiting session, those first who cost least",
            ),
        ),
        (Step("ingress/dispatch/dispatcher.py", "every flight lands once"),),
    ),
    Room(
        "deployments/lines",
        "one message for a batch, to the freest segmenter",
        "one message for its outcomes",
        (
            Step("deployments/lines/pools.py", "the pool of the mode"),
            Step("deployments/lines/caller.py", "its freest segmenter"),
            Step("deployments/lines/line.py", "a call gets its number"),
            Step(
                "deployments/lines/channel.py",
                "one message for a batch, encoded pictures only",
                ("deployments/lines/messages.py",),
            ),
            Step("deployments/lines/callee.py", "the other end, where calls arrive"),
        ),
        (
            Step("deployments/lines/callee.py", "a call has its answer"),
            Step(
                "deployments/lines/channel.py",
                "one message for all its outcomes",
                ("deployments/lines/messages.py",),
            ),
            Step("deployments/lines/line.py", "the answer goes to the call of its number"),
            Step("deployments/lines/caller.py", "hands it on"),
            Step("deployments/lines/pools.py", "what failed, as one of the few failures there are"),
        ),
    ),
    Room(
        "deployments/segmenter.py",
        "the pipeline of the mode, loaded once",
        "outcomes are counted",
        (Step("deployments/segmenter.py", "the mode's pipeline, loaded once"),),
        (
            Step(
                "deployments/segmenter.py",
                "outcomes are counted",
                ("deployments/metrics/models.py",),
            ),
        ),
    ),
    Room(
        "models",
        "decode, predict",
        "render, encode",
        (
            Step(
                "models/pipeline.py",
                "decode, in threads, each frame its own outcome; predict",
                (
                    "models/batch.py",
                    "models/pictures/headers.py",
                    "models/pictures/webp.py",
                    "models/pictures/images.py",
                ),
            ),
        ),
        (Step("models/pipeline.py", "render, encode", ("models/batch.py",)),),
    ),
)


def rooms() -> str:
    """The way in Markdown, a row for each room."""
    head = "| room | on the way in | on the way out |\n|---|---|---|"
    rows = (f"| `{room.place}` | {room.inwards} | {room.outwards} |" for room in WAY)
    return "\n".join((head, *rows))


def files() -> str:
    """The way in Markdown, a line for each file, in and out again."""
    inwards = [step for room in WAY for step in room.way_in]
    outwards = [step for room in reversed(WAY) for step in room.way_out]
    numbered = enumerate((*inwards, *outwards), 1)
    return "\n".join(f"{number}. `{step.file}`: {step.does}" for number, step in numbered)


PAGES = {ROOT / "README.md": rooms, ROOT / "docs" / "architecture.md": files}


def with_way(page: str, way: str) -> str:
    """``page`` with ``way`` between its marks."""
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return f"{before}{_BEGIN}\n{way}\n{_END}{after}"


if __name__ == "__main__":
    for path, written in PAGES.items():
        path.write_text(with_way(path.read_text(), written()))
