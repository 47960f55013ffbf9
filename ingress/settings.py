"""Every limit, timeout and interval of a connection, with its unit in its name.

Seconds end in ``_s``, bytes in ``_bytes``. Values come from ``configs/serve.yaml``
through ``deployments.app`` and are never changed afterwards. ``ceiling_bytes``
states what one session may hold in memory; a test attacks it.

What cannot work is refused before anything starts: a value by its group, values
of different groups that contradict each other by ``Connections``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ingress.group import Settings
from ingress.policy import Admission

_KIB, _MIB = 1024, 1024 * 1024

# A batch is closed by the frame that passes its bytes, and travels in one message of at most 2**28.
CALL_BYTES = 255 * _MIB


# Its answer, of a result for each frame of the largest batch, in one of at most 2**29.
ANSWER_BYTES = 511 * _MIB
_RESULT_EXTRA_BYTES = 64 * _KIB  # metadata, thumbnail
_SESSION_EXTRA_BYTES = 16 * _KIB  # in the store: its title, the numbers of its results, tables


def _in_order(window: tuple[int, int]) -> tuple[int, int]:
    earliest, latest = window
    if earliest > latest:
        raise ValueError(f"the earliest comes first: [{latest}, {earliest}]")
    return window


Milliseconds = Annotated[int, Field(ge=0, le=3_600_000)]
Window = Annotated[tuple[Milliseconds, Milliseconds], AfterValidator(_in_order)]


class Keepalive(Settings):
    """When a silent peer counts as dead: after ``heartbeat_s + timeout_s`` without a message."""

    heartbeat_s: float = Field(10.0, ge=0.1, le=600, description="Between pings of the server.")
    timeout_s: float = Field(10.0, gt=0, le=600, description="Silence after a due heartbeat.")


class SessionLimits(Settings):
    """What one session may hold, send and take."""

    max_in_flight: int = Field(4, ge=1, le=64, description="v1: results not yet acknowledged.")
    plain_in_flight: int = Field(3, ge=2, le=64, description="plain: frames not yet answered.")
    max_frame_bytes: int = Field(4 * _MIB, ge=1024, description="An encoded picture.")
    max_frame_pixels: int = Field(4096 * 4096, ge=1, description="Width times height.")
    frame_work_ms: float = Field(
        150.0, gt=0, le=60_000, description="Estimated decoding of a frame, of one core."
    )
    single_work_ms: float = Field(
        1000.0, gt=0, le=60_000, description="The same of a picture by HTTP."
    )
    frame_draw_ms: float = Field(
        300.0, gt=0, le=60_000, description="Estimated drawing and encoding of a frame's result."
    )
    single_draw_ms: float = Field(
        2000.0, gt=0, le=60_000, description="The same of a picture by HTTP."
    )
    max_result_bytes: int = Field(16 * _MIB, ge=64 * _KIB, description="A payload, encoded.")
    max_control_bytes: int = Field(
        64 * _KIB, ge=1024, description="A text message other than a plain frame."
    )
    control_per_s: float = Field(
        50.0,
        ge=1,
        description="Text messages that are no frame, each 4 KiB one; more wait to be read.",
    )
    control_burst: float = Field(50.0, ge=1, description="So many of them at once.")
    control_patience_s: float = Field(
        30.0, gt=0, description="Above control_per_s for so long closes with 1008."
    )
    frames_per_s: float = Field(240.0, ge=1, description="Frames; one beyond it is dropped.")
    pixels_per_s: float = Field(256e6, ge=1, description="In them, by their headers.")
    bytes_per_s: float = Field(128.0 * _MIB, ge=1024, description="In them, encoded.")
    rate_burst_s: float = Field(
        2.0, gt=0, le=60, description="Of these three rates, what may come at once."
    )
    max_message_bytes: int = Field(
        24 * _MIB, ge=2048, description="What the transport takes at all; past it, close 1009."
    )
    max_fragments: int = Field(
        4096, ge=16, description="Of a WebSocket message; one more closes with 1009."
    )
    small_frames_per_s: float = Field(
        300.0, ge=10, description="WebSocket frames below 1 KiB; more wait in the socket."
    )
    small_frames_burst: float = Field(1000.0, ge=1, description="So many of them at once.")
    message_bytes_per_s: float = Field(
        1024.0, ge=0, description="Must come of a message that has begun; less closes with 4201."
    )
    message_stall_s: float = Field(20.0, gt=0, description="Over so long.")
    max_frame_age_s: float = Field(2.0, gt=0, description="A frame that waited longer is stale.")
    max_commands: int = Field(8, ge=1, le=256, description="Commands under way at once.")
    max_bad_messages: int = Field(100, ge=1, description="In any 60 s; one more closes with 1008.")
    outbox_messages: int = Field(256, ge=8, description="Control messages waiting to be sent.")
    outbox_bytes: int = Field(256 * _KIB, ge=4096, description="Their size together.")
    scene_window_s: float = Field(10.0, gt=0, le=60, description="Masks kept for statistics.")
    scene_masks: int = Field(64, ge=2, le=256, description="At most so many of them.")
    hello_timeout_s: float = Field(10.0, gt=0, description="v1: from accept to hello.")
    idle_timeout_s: float = Field(600.0, gt=0, description="Without a frame or a command.")
    send_timeout_s: float = Field(10.0, gt=0, description="For one message to leave.")
    close_timeout_s: float = Field(2.0, gt=0, description="For the close frame to leave.")
    credit_timeout_s: float = Field(30.0, gt=0, description="v1: without an ack while one is due.")

    @model_validator(mode="after")
    def _message_holds_a_frame(self) -> Self:
        if self.max_message_bytes < self.plain_message_bytes:
            raise ValueError(
                f"max_message_bytes must be at least {self.plain_message_bytes}: "
                "a frame of max_frame_bytes in base64"
            )
        return self

    @property
    def plain_message_bytes(self) -> int:
        """The largest text message of a plain client: one frame in base64 and its envelope."""
        return self.max_frame_bytes * 4 // 3 + _KIB

    @property
    def ceiling_bytes(self) -> int:
        """What one session may hold, in bytes.

        Waiting frames, frames under way, results that wait to be sent (counted as in base64,
        which in plain they become when they leave) and the newest one, which is kept for a
        resume, the control lane, the masks kept for statistics, and one message in transit.
        ``Resume.ring_bytes`` comes on top.
        """
        frames = 2 * max(self.max_in_flight, self.plain_in_flight) * self.max_frame_bytes
        v1 = (self.max_in_flight + 1) * self.result_message_bytes
        plain = (self.plain_in_flight + 2) * (self.result_message_bytes * 4 // 3)
        masks = self.scene_masks * 8 * _KIB
        return frames + max(v1, plain) + self.outbox_bytes + masks + 2 * self.max_message_bytes

    @property
    def result_message_bytes(self) -> int:
        """The largest result with what it says beside its payload."""
        return self.max_result_bytes + _RESULT_EXTRA_BYTES


class Resume(Settings):
    """How long a lost session is kept, and how much of it."""

    ttl_s: float = Field(60.0, gt=1, le=3600, description="Between a loss and its resume.")
    ring_messages: int = Field(256, ge=8, description="Control messages kept of each session.")
    ring_bytes: int = Field(256 * _KIB, ge=4096, description="The memory that they take.")
    result_age_s: float = Field(2.0, ge=0, description="An older result is not sent again.")
    max_parked: int = Field(
        1024, ge=1, description="Sessions kept; who has most of them loses his oldest first."
    )
    max_parked_bytes: int = Field(
        256 * _MIB, ge=_MIB, description="Memory for all sessions, attached ones too; likewise."
    )
    store_timeout_s: float = Field(3.0, gt=0, description="For one answer of the session store.")

    @model_validator(mode="after")
    def _outlives_an_answer(self) -> Self:
        if self.ttl_s < self.store_timeout_s:
            raise ValueError(
                f"ttl_s is {self.ttl_s:g}, below store_timeout_s, {self.store_timeout_s:g}: "
                "a session may end while the store is asked for it; raise the one, lower the other"
            )
        return self


class Drain(Settings):
    """How a replica that is to stop lets its clients go."""

    grace_s: float = Field(
        20.0, ge=1, le=3600, description="Serve kills the replica after this; closes take a third."
    )
    pace_s: float = Field(
        0.1, ge=0, le=10, description="Between two closes, where a third of the grace allows it."
    )
    retry_ms: Window = Field(
        (500, 8_000), description="When the clients are to come back, all of them spread over it."
    )


class Http(Settings):
    """What requests of HTTP may take; every number is of one ingress replica."""

    max_requests: int = Field(
        64,
        ge=1,
        le=16_384,
        description="Under way at once, probes and scrapes aside; then HTTP 503. Sessions have "
        "places of their own.",
    )
    requests_per_address: int = Field(
        16, ge=1, description="The same of one address: HTTP 429. Loopback is free."
    )
    pictures_per_s: float = Field(
        20.0, gt=0, description="Of one principal, or else one address: HTTP 429. Loopback is free."
    )
    pictures_burst: float = Field(60.0, ge=1, description="So many of them at once.")
    beside_streams: int = Field(
        1,
        ge=1,
        description="POSTs passed on at once by one server while anybody streams to it, and twice "
        "as many that are still on their way. Each place rests for as long as it was used.",
    )
    fruitless_per_s: float = Field(
        5.0,
        gt=0,
        description="POSTs that are refused or given up, and connections that end at once, of one "
        "address; the next ones wait for a moment. For connections loopback is free.",
    )
    head_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Until the head of a request, or a handshake, has come."
    )
    body_timeout_s: float = Field(120.0, gt=0, description="Until its body has; then HTTP 408.")
    body_bytes_per_s: float = Field(
        1024.0, ge=0, description="Must come of a body; less is HTTP 408."
    )
    body_stall_s: float = Field(10.0, gt=0, description="Over so long.")


class Batching(Settings):
    """How waiting sessions become calls, per mode."""

    max_batch: int = Field(16, ge=1, le=256, description="Frames in one call.")
    max_batch_bytes: int = Field(16 * _MIB, ge=1024, description="Encoded bytes in one call.")
    max_calls: int = Field(2, ge=1, le=64, description="Calls in flight, for each replica.")
    cycle_s: float = Field(
        0.1, gt=0, le=10, description="Frames under way are what the pool answers in this time."
    )
    call_timeout_s: float = Field(30.0, gt=0, description="For one call; then INFERENCE_FAILED.")
    prepare_timeout_s: float = Field(180.0, gt=0, description="For a mode to load.")


class Scraping(Settings):
    """How ``/metrics`` is put together."""

    gather_timeout_s: float = Field(
        2.0, gt=0, le=60, description="For every replica to answer; then it is left out."
    )


class Connections(Settings):
    """The groups together, which must not contradict each other."""

    keepalive: Keepalive = Keepalive()
    limits: SessionLimits = SessionLimits()
    batching: Batching = Batching()
    admission: Admission = Admission()
    http: Http = Http()
    metrics: Scraping = Scraping()
    resume: Resume = Resume()
    drain: Drain = Drain()
    retry_ms: Window = Field((500, 30_000), description="Window for a reconnect.")

    @model_validator(mode="after")
    def _groups_agree(self) -> Self:
        for contradiction in self._contradictions():
            raise ValueError(contradiction)
        return self

    def _contradictions(self) -> Iterator[str]:
        limits, resume = self.limits, self.resume
        silence_s = self.keepalive.heartbeat_s + self.keepalive.timeout_s
        if limits.hello_timeout_s > silence_s:
            yield (
                f"limits.hello_timeout_s is {limits.hello_timeout_s:g}, but who is silent for "
                f"keepalive.heartbeat_s + timeout_s, {silence_s:g} s, is let go before; "
                "lower it to that at most"
            )
        if self.drain.grace_s < resume.store_timeout_s:
            yield (
                f"drain.grace_s is {self.drain.grace_s:g}, below resume.store_timeout_s, "
                f"{resume.store_timeout_s:g}: a replica may be killed while it leaves a session to "
                "the store; raise the one or lower the other"
            )
        if limits.max_frame_bytes + self.batching.max_batch_bytes > CALL_BYTES:
            yield (
                f"limits.max_frame_bytes and batching.max_batch_bytes are {limits.max_frame_bytes} "
                f"and {self.batching.max_batch_bytes}; together at most {CALL_BYTES}, "
                "which is what one call of a segmenter carries"
            )
        if self.batching.max_batch * limits.result_message_bytes > ANSWER_BYTES:
            most = ANSWER_BYTES // self.batching.max_batch - _RESULT_EXTRA_BYTES
            yield (
                f"batching.max_batch is {self.batching.max_batch} and limits.max_result_bytes "
                f"{limits.max_result_bytes}, but an answer of a segmenter carries {ANSWER_BYTES} "
                f"bytes; lower max_result_bytes to {most} at most, or max_batch"
            )
        session_bytes = limits.result_message_bytes + resume.ring_bytes + _SESSION_EXTRA_BYTES
        if resume.max_parked_bytes < session_bytes:
            yield (
                f"resume.max_parked_bytes is {resume.max_parked_bytes}; at least {session_bytes}, "
                "a result of limits.max_result_bytes, resume.ring_bytes and what comes with them, "
                "or no session is kept"
            )


class IngressSettings(Connections):
    """Everything that the connection layer is told."""

    default_mode: str = "person"
    replicas: Mapping[str, int] = Field({}, description="Of each mode's pool; 1 where not told.")
    listens_on: str | None = Field(
        None, description="The host of http_options; null is not known, and counts as any."
    )
