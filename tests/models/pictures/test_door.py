"""The image door attacked: what a small file makes a decoder do, and what it says on stderr."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from models.pictures import webp
from models.pictures.chunks import MAX_CHUNKS
from models.pictures.cost import jpeg_ms
from models.pictures.headers import read_header
from models.pictures.images import decode
from models.pictures.jpeg import MAX_SEGMENTS
from models.pictures.limits import FrameRejected, ImageLimits
from models.pictures.png import SIGNATURE, chunk
from models.pictures.webp import picture_alone

LIMITS = ImageLimits(max_pixels=4096 * 4096, max_bytes=16 << 20)
WHOLE = (8191, 8191)
PORTRAIT = Image.open(Path(__file__).parents[2] / "data" / "astronaut.png").convert("RGB")
SIZES = [(64, 48), (123, 45), (1, 1), (7, 300)]
_IEND = chunk(b"IEND", b"")


def saved(picture: Image.Image, picture_format: str, **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, picture_format, **options)
    return out.getvalue()


def png(
    rows: bytes, size: tuple[int, int] = (8, 8), *extra: bytes, interlace: int = 0, colour: int = 2
) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, colour, 0, 0, interlace))
    return b"".join((SIGNATURE, head, *extra, chunk(b"IDAT", zlib.compress(rows)), _IEND))


def small_png(*extra: bytes) -> bytes:
    return png(bytes(8 * 25), (8, 8), *extra)


def pixels_of(data: bytes) -> Any:
    return decode(data, read_header(data, LIMITS, single=True), WHOLE).pixels


def opencv(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def took_s(step: Callable[[], object]) -> float:
    begun = time.thread_time()
    step()
    return time.thread_time() - begun


# ------------------------------------------------------------------ legal files


def legal() -> list[bytes]:
    made = []
    for size in SIZES:
        small = PORTRAIT.resize(size)
        for quality, subsampling in ((30, 0), (95, 1), (100, 2)):
            for progressive in (False, True):
                options = {"quality": quality, "subsampling": subsampling}
                for mode in ("RGB", "L"):
                    picture = small.convert(mode)
                    made.append(saved(picture, "JPEG", progressive=progressive, **options))
        made.append(saved(small.convert("CMYK"), "JPEG", subsampling=0))
        made += [saved(small.convert(m), "PNG") for m in ("RGB", "RGBA", "L", "LA", "P", "1")]
        made += [saved(small.quantize(n), "PNG", transparency=1) for n in (2, 4, 16)]
        wide = np.asarray(small).astype(np.uint16) * 251
        made.append(cv2.imencode(".png", wide)[1].tobytes())
        made.append(cv2.imencode(".png", np.dstack((wide, wide[..., 0])))[1].tobytes())
        for mode in ("RGB", "RGBA"):
            made += [saved(small.convert(mode), "WEBP", lossless=lossless) for lossless in (0, 1)]
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            made += [saved(small, f, exif=exif.tobytes()) for f in ("JPEG", "PNG", "WEBP")]
    return made


def test_legal_pictures_are_what_opencv_alone_makes_of_them() -> None:
    for data in legal():
        assert np.array_equal(pixels_of(data), opencv(data)), data[:60]


@pytest.mark.parametrize("size", [(64, 48), (123, 45), (641, 479)])
@pytest.mark.parametrize(
    ("divisor", "flag"),
    [
        (2, cv2.IMREAD_REDUCED_COLOR_2),
        (4, cv2.IMREAD_REDUCED_COLOR_4),
        (8, cv2.IMREAD_REDUCED_COLOR_8),
    ],
)
def test_a_reduced_jpeg_is_what_opencv_makes_of_it(
    size: tuple[int, int], divisor: int, flag: int
) -> None:
    data = saved(PORTRAIT.resize(size), "JPEG")
    theirs: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    frame = decode(data, read_header(data, LIMITS), (theirs.shape[0], theirs.shape[1]))
    assert theirs.shape[0] == -(-size[1] // divisor)
    assert np.array_equal(frame.pixels, cv2.cvtColor(theirs, cv2.COLOR_BGR2RGB))
    assert frame.size == size[::-1]


def test_an_interlaced_png_is_what_opencv_makes_of_it() -> None:
    picture = np.asarray(PORTRAIT.resize((13, 9)))
    steps = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2))
    passes = [picture[y::dy, x::dx] for x, dx, y, dy in (*steps, (0, 1, 1, 2))]
    rows = b"".join(b"\0" + row.tobytes() for part in passes if part.size for row in part)
    data = png(rows, (13, 9), interlace=1)
    assert np.array_equal(pixels_of(data), picture)


# ------------------------------------------------------------------ PNG


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_inflates_beside_the_picture_is_never_inflated(kind: bytes) -> None:
    bomb = zlib.compress(bytes(8_000_000), 9)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    data = small_png(*[chunk(kind, head + bomb)] * 200)
    assert took_s(lambda: pixels_of(data)) < 0.2  # 1.6 GB are there to be inflated
    assert not pixels_of(data).any()


def test_rows_that_inflate_past_the_picture_are_not_inflated() -> None:
    data = png(bytes(200_000_000), (8, 8))
    tracemalloc.start()
    pixels_of(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * len(data)


def test_an_animation_behind_any_number_of_texts_is_refused() -> None:
    for texts in (0, 1, 1000):
        data = small_png(*[chunk(b"tEXt", b"k\0v")] * texts, chunk(b"acTL", bytes(8)))
        with pytest.raises(FrameRejected, match="PNG is animated"):
            read_header(data, LIMITS)


def test_chunks_without_number_are_refused() -> None:
    few = small_png(*[chunk(b"tEXt", b"")] * (MAX_CHUNKS - 3))
    assert read_header(few, LIMITS).width == 8
    with pytest.raises(FrameRejected, match=f"more than {MAX_CHUNKS:,} chunks"):
        read_header(small_png(*[chunk(b"tEXt", b"")] * MAX_CHUNKS), LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        png(bytes(8 * 25 - 1)),
        png(b"\5" + bytes(8 * 25 - 1)),
        png(bytes(72), colour=3),
        small_png()[:-20] + bytes(8) + small_png()[-12:],
    ],
    ids=["rows short", "filter unknown", "palette missing", "stream damaged"],
)
def test_rows_that_are_not_the_headers_are_refused(data: bytes) -> None:
    with pytest.raises(FrameRejected, match="damaged"):
        pixels_of(data)


def test_interlacing_and_depth_are_in_the_work() -> None:
    plain, interlaced = png(b"", (4000, 1000)), png(b"", (4000, 1000), interlace=1)
    grey = png(b"", (4000, 1000), colour=0)
    works = [read_header(data, LIMITS, single=True).work_ms for data in (grey, plain, interlaced)]
    assert works == sorted(set(works))


# ------------------------------------------------------------------ JPEG


def progressive(scans: int) -> bytes:
    data = saved(PORTRAIT.resize((2400, 2400)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def test_pixels_times_scans_are_bounded() -> None:
    with pytest.raises(FrameRejected, match=r"ms to decode; at most 150 are allowed"):
        read_header(progressive(20), LIMITS)
    with pytest.raises(FrameRejected, match=r"ms to decode; at most 1,000 are allowed"):
        read_header(progressive(53), LIMITS, single=True)


def test_restarts_and_stuffing_hide_no_scan() -> None:
    data = saved(PORTRAIT.resize((64, 48)), "JPEG")
    scan = data[data.rindex(b"\xff\xda") : -2]
    for between in (b"", b"\xff\xd0" * 200, b"\xff\x00" * 200, b"\xff" * 200):
        with pytest.raises(FrameRejected, match="scans; at most"):
            read_header(data[:-2] + (between + scan) * 64 + b"\xff\xd9", LIMITS)


def test_segments_without_number_are_refused_before_and_between_scans() -> None:
    data = saved(PORTRAIT.resize((64, 48)), "JPEG")
    flood = b"\xff\xfe\0\2" * (MAX_SEGMENTS + 100)
    for at in (2, len(data) - 2):
        with pytest.raises(FrameRejected, match="segments"):
            read_header(data[:at] + flood + data[at:], LIMITS)


@pytest.mark.parametrize(
    "change",
    [
        lambda d, at: d[: at + 1] + b"\xc9" + d[at + 2 :],
        lambda d, at: d[: at + 1] + b"\xc3" + d[at + 2 :],
        lambda d, at: d[: at + 4] + b"\x0c" + d[at + 5 :],
        lambda d, at: d[: at + 9] + b"\2" + d[at + 10 :],
        lambda d, at: d[: at + 11] + b"\xf1" + d[at + 12 :],
        lambda d, at: d[: at + 5] + b"\0\0" + d[at + 7 :],
        lambda d, at: d[:-2] + b"\xff\xdc\0\4\0\x30" + d[-2:],
        lambda d, at: d[:-2] + d[at : at + 19] + d[-2:],
    ],
    ids=["arithmetic", "lossless", "12 bits", "2 components", "factors", "height 0", "DNL", "SOF"],
)
def test_kinds_that_no_camera_writes_are_refused(change: Callable[[bytes, int], bytes]) -> None:
    data = saved(PORTRAIT.resize((64, 48)), "JPEG")
    with pytest.raises(FrameRejected):
        read_header(change(data, data.index(b"\xff\xc0")), LIMITS)


def test_padding_to_units_is_in_the_work() -> None:
    data = saved(PORTRAIT.resize((8000, 1)), "JPEG", subsampling=0)
    at = data.index(b"\xff\xc0") + 11
    padded = data[:at] + b"\x44" + data[at + 1 :]
    assert read_header(padded, LIMITS).work_ms > 3 * jpeg_ms(3 * 8000, 1, len(padded))


# ------------------------------------------------------------------ WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def simple_webp() -> bytes:
    return saved(PORTRAIT.resize((64, 48)), "WEBP")[20:]


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes((flags, 0, 0, 0)) + sides


def test_a_canvas_that_is_not_its_picture_is_refused() -> None:
    with pytest.raises(FrameRejected, match="canvas is not its picture's"):
        read_header(riff((b"VP8X", canvas(8, 8)), (b"VP8 ", simple_webp())), LIMITS)


def test_profiles_and_metadata_of_a_webp_reach_no_decoder() -> None:
    extras = [(kind, bytes(500_000)) for kind in (b"ICCP", b"ALPH")]
    late = [(kind, bytes(500_000)) for kind in (b"EXIF", b"XMP ")]
    data = riff((b"VP8X", canvas(64, 48, 0x3C)), *extras, (b"VP8 ", simple_webp()), *late)
    assert len(picture_alone(data)) < 5000
    assert np.array_equal(pixels_of(data), opencv(riff((b"VP8 ", simple_webp()))))


def test_animations_and_chunks_without_number_are_refused() -> None:
    for flags, kind in ((0x02, b"XMP "), (0, b"ANIM"), (0, b"ANMF")):
        data = riff((b"VP8X", canvas(64, 48, flags)), (kind, b""), (b"VP8 ", simple_webp()))
        with pytest.raises(FrameRejected, match="animated"):
            read_header(data, LIMITS)
    allowed = [(b"VP8 ", simple_webp()), *[(b"XMP ", b"")] * (webp.MAX_CHUNKS - 1)]
    assert read_header(riff(*allowed), LIMITS).width == 64
    with pytest.raises(FrameRejected, match="chunks"):
        read_header(riff(*allowed, (b"XMP ", b"")), LIMITS)


# ------------------------------------------------------------------ the walk, and stderr


@pytest.mark.parametrize(
    "filler", [b"\xff\x00", b"\xff\xd0", b"\xff", b"\xff\xfe\0\2", bytes(64)], ids=repr
)
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_the_walk_of_garbage_is_cheap(picture_format: str, filler: bytes) -> None:
    data = saved(PORTRAIT.resize((64, 48)), picture_format)
    flooded = data[:-2] + filler * ((15 << 20) // len(filler)) + data[-2:]

    def walk() -> None:
        try:
            read_header(flooded, LIMITS)
        except FrameRejected:
            return

    assert took_s(walk) < 15 * 0.03  # at the worst some 10 ms a MiB; a shared machine's margin


_DECODES = """
import sys
from models.pictures.headers import read_header
from models.pictures.images import decode
from models.pictures.limits import FrameRejected, ImageLimits
from pathlib import Path
for path in map(Path, sys.argv[1:]):
    data = path.read_bytes()
    try:
        decode(data, read_header(data, ImageLimits(1 << 24, 1 << 24)), (9999, 9999))
    except FrameRejected:
        print("refused")
    else:
        print("decoded")
"""


def test_damaged_pictures_leave_no_line_on_stderr(tmp_path: Path) -> None:
    whole = [saved(PORTRAIT, "JPEG"), saved(PORTRAIT, "JPEG", progressive=True)]
    whole += [saved(PORTRAIT, "PNG"), saved(PORTRAIT.quantize(16), "PNG", icc_profile=b"junk" * 40)]
    whole += [saved(PORTRAIT, "WEBP"), saved(PORTRAIT, "WEBP", lossless=True)]
    paths = []
    for number, data in enumerate(whole):
        for part in range(1, 12):
            at = len(data) * part // 12
            hurt = data[:at] + b"\xff\xd9\x12\x34" * 3 + data[at + 12 :]
            shorter = data[:at] + data[at + 200 :]
            for name, damaged in (("hurt", hurt), ("shorter", shorter)):
                paths.append(tmp_path / f"{number}-{part}-{name}")
                paths[-1].write_bytes(damaged)
    ran = subprocess.run(
        [sys.executable, "-c", _DECODES, *map(str, paths)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert {"refused", "decoded"} == set(ran.stdout.split())
