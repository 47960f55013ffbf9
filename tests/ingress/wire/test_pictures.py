"""Pictures on the wire: frames, plain pictures, results; what is refused, and in which words."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.wire.pictures import (
    FRAME_HEADER_BYTES,
    RESULT_HEADER_BYTES,
    Frame,
    Result,
    encode_frame,
    encode_result,
    parse_frame,
    parse_result,
    plain_image,
)
from ingress.wire.requests import (
    PlainFrame,
)
from ingress.wire.slices import SLICE
from ingress.wire.words import IMAGE_TYPES, BadMessage, ErrorCode
from tests.ingress.wire.examples import META, U32, U64, attempt

FRAMES = st.builds(Frame, seq=U32, ack=U32, captured_us=U64, image=st.binary())


@given(FRAMES)
def test_frames_survive_the_wire(frame: Frame) -> None:
    assert parse_frame(encode_frame(frame)) == frame


@given(st.binary())
def test_arbitrary_bytes_are_a_frame_or_bad(message: bytes) -> None:
    made = attempt(parse_frame, message)
    if isinstance(made, BadMessage):
        assert str(made).startswith("frame: ")
    else:
        assert encode_frame(made)[4:] == message[4:]


def test_a_frame_header_is_laid_out_as_documented() -> None:
    frame = Frame(seq=1, ack=2, captured_us=3, image=b"jpeg")
    assert encode_frame(frame) == struct.pack("<BBHIIQ", 1, 1, 0, 1, 2, 3) + b"jpeg"
    assert FRAME_HEADER_BYTES == 20


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "frame: 0 bytes; a frame starts with a header of 20"),
        (b"\x01" * 19, "frame: 19 bytes"),
        (
            struct.pack("<BBHIIQ", 2, 1, 0, 1, 0, 0),
            "frame: version 2; this server speaks version 1",
        ),
        (struct.pack("<BBHIIQ", 1, 2, 0, 1, 0, 0), "frame: kind 2; a client sends kind 1"),
    ],
)
def test_what_is_wrong_with_a_frame_is_said(message: bytes, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_frame(message)
    assert words in str(caught.value)


def plain(data: str) -> PlainFrame:
    return PlainFrame(type="frame", data=data, timestamp=12.5, id="f1")


@given(st.binary(min_size=1), st.sampled_from(["", *IMAGE_TYPES]))
async def test_pictures_come_as_base64_or_as_data_urls(image: bytes, media_type: str) -> None:
    prefix = f"data:{media_type};base64," if media_type else ""
    assert await plain_image(plain(prefix + base64.b64encode(image).decode())) == image


@given(st.text())
async def test_arbitrary_data_is_a_picture_or_bad(data: str) -> None:
    try:
        made: bytes | ErrorCode = await plain_image(plain(data))
    except BadMessage as bad:
        made = bad.code
    assert made if isinstance(made, bytes) else made is ErrorCode.FRAME_REJECTED


@pytest.mark.parametrize("hurt", ["=", "!", "\u00e9"])
@pytest.mark.parametrize("at", [SLICE - 1, SLICE, SLICE + 1])
async def test_what_is_wrong_at_the_edge_of_a_slice_is_found(at: int, hurt: str) -> None:
    data = "A" * (2 * SLICE)
    with pytest.raises(BadMessage, match="is not base64"):
        await plain_image(plain(data[:at] + hurt + data[at + 1 :]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "data: is empty"),
        ("data:image/png;base64,", "data: is empty"),
        ("AAA", "data: is not base64"),
        ("AA AA", "data: is not base64"),
        ("AA_-", "data: is not base64"),
        ("\u00e9\u00e9\u00e9\u00e9", "data: is not base64"),
        ("data:text/html;base64,AAAA", "image/jpeg, image/png, image/webp"),
        ("data:image/gif;base64,AAAA", "image/jpeg, image/png, image/webp"),
        ("data:image/png,AAAA", "must start with data:TYPE;base64,"),
        ("data:image/png;base64", "must start with data:TYPE;base64,"),
        ("data:", "must start with data:TYPE;base64,"),
    ],
)
async def test_what_is_wrong_with_a_plain_picture_is_said(data: str, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        await plain_image(plain(data))
    refused = caught.value
    assert words in str(refused)
    assert (refused.code, refused.reply_to, refused.timestamp) == (
        ErrorCode.FRAME_REJECTED,
        "f1",
        12.5,
    )


@given(
    st.builds(
        Result,
        seq=U32,
        frame_seq=U32,
        captured_us=U64,
        meta=st.just(META),
        payload=st.binary(),
    )
)
def test_results_survive_the_wire(result: Result) -> None:
    assert parse_result(encode_result(result)) == result


@given(st.binary() | st.binary().map(lambda tail: struct.pack("<BBHIII", 1, 2, 0, 1, 1, 4) + tail))
def test_arbitrary_bytes_are_a_result_or_bad(message: bytes) -> None:
    made = attempt(parse_result, message)
    assert isinstance(made, Result) or str(made).startswith("result: ")


def result_with(meta: bytes, meta_bytes: int | None = None, kind: int = 2) -> bytes:
    size = len(meta) if meta_bytes is None else meta_bytes
    return struct.pack("<BBHIIIQ", 1, kind, 0, 1, 1, size, 0) + meta


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\x01\x02", f"result: 2 bytes; the header alone has {RESULT_HEADER_BYTES}"),
        (result_with(b"{}", kind=1), "result: version 1, kind 1; expected 1, 2"),
        (result_with(b"{}", meta_bytes=3), "result: the metadata runs past the end"),
        (result_with(META.model_dump_json().encode(), meta_bytes=2**32 - 1), "runs past the end"),
        (result_with(b"{"), "result: not JSON"),
        (result_with(b"\xff\xfe"), "result: not JSON"),
        (result_with(b"{}"), "result: mode: required and missing"),
    ],
)
def test_what_is_wrong_with_a_result_is_said(message: bytes, words: str) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_result(message)
    assert words in str(caught.value)
