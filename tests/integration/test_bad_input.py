"""Bad input gets a clear error, the connection lives, and nothing is lost."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect

from ingress.wire.pictures import Frame, Result, encode_frame
from ingress.wire.replies import Error
from ingress.wire.words import SUBPROTOCOL
from tests.integration.leaks import leaks
from tests.integration.pictures import astronaut, decoded, jpeg, png, read
from tests.integration.v1_client import v1
from tests.serve_app import ServeApp

pytestmark = pytest.mark.integration

GOOD = jpeg(astronaut())


def declared_png(width: int, height: int) -> bytes:
    """A PNG whose header declares a size that its data does not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


NOT_PICTURES = {
    "no image at all": (b"GET / HTTP/1.1\r\n\r\n" * 20, "not an image"),
    "no bytes": (b"", "empty"),
    "a truncated JPEG": (GOOD[: len(GOOD) // 2], "the JPEG is cut short"),
    "a JPEG cut in its header": (GOOD[:40], "cut short"),
    "a truncated PNG": (png(astronaut())[:20_000], "the PNG is damaged or cut short"),
    "a GIF": (b"GIF89a" + bytes(200), "not an image"),
    "30,000 x 30,000 by its header": (declared_png(30_000, 30_000), "at most 16,777,216"),
}
NOT_BASE64 = {
    "not base64": "not base64!",
    "base64 cut short": "AAAAA",
    "another media type": "data:text/html;base64,AAAA",
    "a data URL that is not base64": "data:image/jpeg,AAAA",
}


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show
    return saved(Image.fromarray(astronaut()[:256]), "JPEG", exif=exif)


def sixteen_bits() -> bytes:
    grey = astronaut()[:, :, 1].astype(np.uint16) * 257
    return saved(Image.fromarray(grey), "PNG")


UNUSUAL: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "grey": (lambda: jpeg(astronaut()[:, :, 1]), (512, 512)),
    "RGBA": (lambda: saved(Image.fromarray(astronaut()).convert("RGBA"), "PNG"), (512, 512)),
    "16-bit": (sixteen_bits, (512, 512)),
    "CMYK": (lambda: saved(Image.fromarray(astronaut()).convert("CMYK"), "JPEG"), (512, 512)),
    "EXIF-rotated": (rotated, (512, 256)),
    "1x1": (lambda: png(astronaut()[:1, :1]), (1, 1)),
    "WebP": (lambda: saved(Image.fromarray(astronaut()), "WEBP"), (512, 512)),
}

NESTED = '{"type":"update_viz","settings":' + '{"a":' * 900 + "1" + "}" * 900 + "}"
CONTROL = {
    "not JSON": ("{", "BAD_MESSAGE", "not JSON"),
    "deep JSON": (NESTED, "BAD_MESSAGE", "recursion limit"),
    "not an object": ("[1]", "BAD_MESSAGE", "object"),
    "an unknown type": ('{"type":"chnge_mode"}', "BAD_MESSAGE", 'did you mean "change_mode"'),
    "a missing field": ('{"type":"change_mode"}', "BAD_MESSAGE", "model_mode"),
    "an unknown mode": ('{"type":"change_mode","model_mode":"persn"}', "INVALID_MODE", "person"),
    "opacity 7": (
        '{"type":"update_viz","settings":{"overlay_opacity":7}}', "VIZ_UPDATE_FAILED", "1",
    ),
    "opacity in words": (
        '{"type":"update_viz","settings":{"overlay_opacity":"high"}}',
        "VIZ_UPDATE_FAILED", "number",
    ),
    "classes in words": (
        '{"type":"update_viz","settings":{"class_filter":["hair"]}}',
        "VIZ_UPDATE_FAILED", "class_filter",
    ),
    "a class that is not there": (
        '{"type":"update_viz","settings":{"class_filter":[9]}}', "VIZ_UPDATE_FAILED", "0 to 1",
    ),
    "an unknown setting": (
        '{"type":"update_viz","settings":{"opacity":0.5}}', "VIZ_UPDATE_FAILED", "unknown key",
    ),
}  # fmt: skip


def check(error: dict[str, Any], code: str, words: str) -> None:
    assert (error["type"], error["code"], error["recoverable"]) == ("error", code, True)
    assert words in error["message"]
    assert not leaks(error["message"])


async def reply(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


def plain_frame(picture: bytes, timestamp: float = 1) -> str:
    data = base64.b64encode(picture).decode()
    return json.dumps({"type": "frame", "data": data, "timestamp": timestamp})


async def test_bad_input_in_the_plain_dialect_and_the_connection_lives(server: ServeApp) -> None:
    async with connect(server.ws, max_size=None) as socket:
        await reply(socket)
        for text, code, words in CONTROL.values():
            await socket.send(text)
            check(await reply(socket), code, words)
        for timestamp, (picture, words) in enumerate(NOT_PICTURES.values()):
            await socket.send(plain_frame(picture, timestamp))
            error = await reply(socket)
            check(error, "FRAME_REJECTED", words)
            assert error["timestamp"] == timestamp
        for data in NOT_BASE64.values():
            await socket.send(json.dumps({"type": "frame", "data": data, "timestamp": 5}))
            error = await reply(socket)
            check(error, "FRAME_REJECTED", "base64")
            assert error["timestamp"] == 5
        await socket.send(b"binary")
        check(await reply(socket), "BAD_MESSAGE", "plain dialect")
        await socket.send(json.dumps({"type": "frame", "data": "A" * 20_000_000}))
        check(await reply(socket), "BAD_MESSAGE", "at most")
        await socket.send(plain_frame(GOOD, 7.5))
        answer = await reply(socket)
        assert (answer["type"], answer["timestamp"]) == ("segmentation", 7.5)


async def test_bad_input_in_v1_and_the_connection_lives(server: ServeApp) -> None:
    async with v1(server.ws) as client:
        for text, code, words in CONTROL.values():
            await client.say(text)
            error = await client.until(Error)
            check(error.model_dump(mode="json"), code, words)
        too_big = (bytes(20_000_000), "at most 4194304")
        for picture, words in (*NOT_PICTURES.values(), too_big):
            outcome = await client.outcome(await client.send(picture))
            assert isinstance(outcome, Error)
            check(outcome.model_dump(mode="json"), "FRAME_REJECTED", words)
        good = encode_frame(Frame(10_000, client.ack, 0, GOOD))
        for binary, words in (
            (b"", "a frame starts with a header of 20"),
            (good[:10], "a frame starts with a header of 20"),
            (b"\x07" + good[1:], "version 7"),
            (good[:1] + b"\x02" + good[2:], "kind 2"),
            (encode_frame(Frame(0, 0, 0, GOOD)), "does not follow"),
            (encode_frame(Frame(10_000, 999, 0, GOOD)), "ahead of"),
        ):
            await client.socket.send(binary)
            check((await client.until(Error)).model_dump(mode="json"), "BAD_MESSAGE", words)
        await client.say('{"type":"get_stats","padding":"' + "x" * 200_000 + '"}')
        check((await client.until(Error)).model_dump(mode="json"), "BAD_MESSAGE", "at most 65536")
        client.seq = 20_000
        assert isinstance(await client.outcome(await client.send(GOOD)), Result)
    assert {len(outcomes) for outcomes in client.outcomes.values()} == {1}


async def test_a_frame_before_hello_gets_an_error_and_hello_still_works(server: ServeApp) -> None:
    async with connect(server.ws, subprotocols=[SUBPROTOCOL]) as socket:  # type: ignore[list-item]
        await socket.send(encode_frame(Frame(1, 0, 0, GOOD)))
        error = await reply(socket)
        check(error, "BAD_MESSAGE", "hello")
        assert error["frame_seq"] == 1
        await socket.send('{"type":"hello"}')
        assert (await reply(socket))["type"] == "welcome"


@pytest.mark.parametrize("kind", UNUSUAL)
async def test_unusual_pictures_are_answered_in_v1(server: ServeApp, kind: str) -> None:
    picture, size = UNUSUAL[kind]
    async with v1(server.ws) as client:
        result = await client.mask(picture())
    assert decoded(result.payload).shape == size


@pytest.mark.parametrize("kind", UNUSUAL)
async def test_unusual_pictures_are_answered_in_plain(server: ServeApp, kind: str) -> None:
    picture, (height, width) = UNUSUAL[kind]
    async with connect(server.ws, max_size=None) as socket:
        await reply(socket)
        await socket.send(plain_frame(picture()))
        answer = await reply(socket)
    assert answer["type"] == "segmentation"
    assert (answer["metadata"]["height"], answer["metadata"]["width"]) == (height, width)
    overlay = read(base64.b64decode(answer["data"]), cv2.IMREAD_COLOR_RGB)
    assert overlay.shape == (height, width, 3)


def peak_bytes(process: psutil.Process) -> int:
    """The most address space that ``process`` ever held.

    Not what is resident: a decoder that believes the header reserves 2.7 GB for its pixels and
    gives them back untouched when the data ends, so resident memory never shows it.
    """
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmPeak"))
    return int(kilobytes) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
async def test_a_picture_that_declares_a_billion_pixels_costs_no_memory(server: ServeApp) -> None:
    segmenter = server.replica("segmenter-main")
    async with v1(server.ws) as client:
        await client.mask(GOOD)
        before = peak_bytes(segmenter)
        for _ in range(20):
            outcome = await client.outcome(await client.send(declared_png(30_000, 30_000)))
            assert isinstance(outcome, Error)
            assert "at most 16,777,216" in outcome.message
    assert peak_bytes(segmenter) - before < 2**30
