"""A body is held no further than its limit, read no further than a bound, and waited for so long.

On virtual time: what is slow takes no time here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from ray.exceptions import TaskCancelledError
from starlette.requests import Request
from starlette.types import Message

from deployments.body import BodyTooBig, ClientLeft, read_body
from ingress.admission.refusal import Refused
from ingress.settings import Http
from tests.virtual_time import VirtualTimeLoop

HTTP = Http()


class Upload:
    """A request whose body comes in ``chunks``, each after ``pause_s``; counts those read."""

    def __init__(
        self,
        *chunks: bytes,
        length: int | None = None,
        leaves: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        self.read = 0
        self._pause_s = pause_s
        self._messages = self._coming(chunks, leaves)
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.request = Request({"type": "http", "headers": headers}, self._receive)

    def _coming(self, chunks: tuple[bytes, ...], leaves: bool) -> Iterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.disconnect" if leaves else "http.request"}

    async def _receive(self) -> Message:
        await asyncio.sleep(self._pause_s)
        self.read += 1
        return next(self._messages)


def body(upload: Upload, max_bytes: int, **settings: Any) -> tuple[bytes, float]:
    """The body, and the seconds that it took on the loop's clock."""

    async def timed() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        read = await read_body(upload.request, max_bytes, Http.model_validate(settings))
        return read, loop.time() - began

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(timed())


def test_a_body_is_put_together_from_its_chunks() -> None:
    assert body(Upload(b"one ", b"picture"), 11)[0] == b"one picture"


def test_a_body_that_is_too_big_is_read_to_its_end_so_that_the_client_hears_why() -> None:
    upload = Upload(*[b"x" * 10] * 10, length=100)
    with pytest.raises(BodyTooBig):
        body(upload, 99)
    assert upload.read == 11, "ten chunks and the end"


def test_a_body_that_says_it_is_far_too_big_is_not_read() -> None:
    upload = Upload(b"x" * 100, length=101)
    with pytest.raises(BodyTooBig):
        body(upload, 25)
    assert upload.read == 0


@pytest.mark.parametrize("length", [None, 5])  # chunked, and one that lies
def test_a_body_is_read_no_further_than_four_times_the_limit(length: int | None) -> None:
    upload = Upload(*[b"x" * 10] * 100, length=length)
    with pytest.raises(BodyTooBig):
        body(upload, 25)
    assert upload.read == 11, "the chunk that passes 100 bytes is the last"


def test_a_client_that_leaves_in_its_upload_is_told_apart() -> None:
    with pytest.raises(ClientLeft):
        body(Upload(b"half a pic", leaves=True), 100)


def test_a_proxy_that_gives_up_in_an_upload_is_no_error_of_ours() -> None:
    class GivenUp(Upload):
        async def _receive(self) -> Message:
            raise TaskCancelledError

    with pytest.raises(ClientLeft):
        body(GivenUp(), 100)


def test_a_body_that_drips_is_refused_when_it_is_due_and_not_later() -> None:
    upload = Upload(*[b"x"] * 1000, pause_s=1)
    with pytest.raises(Refused) as caught:
        body(upload, 10_000, body_bytes_per_s=100, body_stall_s=10)
    assert caught.value.refusal.name == "body_slow"
    assert caught.value.refusal.status == 408
    assert caught.value.headers() == {"connection": "close"}
    assert upload.read in (9, 10, 11)


def test_a_body_that_stops_is_refused() -> None:
    with pytest.raises(Refused, match="body_slow"):
        body(Upload(b"x" * 5000, pause_s=10_000), 10_000)


def test_a_body_that_comes_slowly_and_steadily_is_taken() -> None:
    read, took_s = body(Upload(*[b"x" * 200] * 40, pause_s=1), 10_000, body_bytes_per_s=100)
    assert len(read) == 8000
    assert took_s == pytest.approx(41, abs=1)


def test_however_steadily_it_comes_a_body_must_end() -> None:
    upload = Upload(*[b"x" * 2000] * 1000, pause_s=1)
    with pytest.raises(Refused, match="body_slow"):
        body(upload, 10_000_000, body_timeout_s=60)
    assert upload.read <= 61
