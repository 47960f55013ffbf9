"""A v1 server without a model: it serves the page, answers frames with canned pictures, and obeys.

It speaks through ``ingress.wire``, so it cannot drift from the wire. It runs
in a thread of its own; a test reads what arrived (``wait_for``) and tells it to
close its connections (``close_all``) or to lose them (``cut_all``). It keeps
sessions as docs/protocol.md has it, but for the replay of a result. A frame's
"person" is a fixed silhouette: tests are about the page, not about segmentation.
"""

from __future__ import annotations

import asyncio
import io
import mimetypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from deployments.manners import HEADERS
from ingress.wire.pictures import ClassShare, Frame, Result, ResultMeta, encode_result, parse_frame
from ingress.wire.replies import (
    NUMBERED,
    Bye,
    Error,
    ModeChanged,
    ModeInfo,
    ServerMessage,
    ServerPong,
    Stats,
    VizUpdated,
    Welcome,
)
from ingress.wire.requests import (
    Ack,
    ChangeMode,
    ClientMessage,
    GetStats,
    Hello,
    Ping,
    SubscribeStats,
    UpdateViz,
)
from ingress.wire.text import encode_text, parse_text
from ingress.wire.words import SUBPROTOCOL, Dialect, ErrorCode
from models.catalog import MODES, ModeSpec
from models.view import View

WEB = Path(__file__).resolve().parents[2] / "web"
RETRY_MS = (50, 150)
STAGES_MS = {"queue": 1.1, "decode": 1.4, "inference": 6.2, "render": 2.0, "encode": 1.2}
DEADLINE_S = 20.0

Pixels = NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class FakeSession:
    """One session: its mode and view, what it has said, and the numbers it has counted."""

    connection: ServerConnection
    name: str = ""
    mode: ModeSpec = field(default_factory=lambda: MODES["person"])
    view: View = field(default_factory=View)
    results: int = 0
    control: list[ServerMessage] = field(default_factory=list)
    last_request: str | int | None = None

    def numbered(self, message: ServerMessage) -> ServerMessage:
        """A message of the control lane with its number, kept for a resume; others as they are."""
        if type(message) not in NUMBERED:
            return message
        self.control.append(message.model_copy(update={"control_seq": len(self.control) + 1}))
        return self.control[-1]


class FakeServer:
    """A v1 server on a free local port.

    Attributes:
        messages: every text message that arrived, in order, over all connections.
        frames: how many frames arrived.
        acked: the highest result seq that was acknowledged, by header or by message.
        mute: while true, nothing that is said arrives, as from a host that has gone.
        deaf: while true, nothing that arrives is taken in, as on a network that loses it.
        keeps_sessions: whether a lost session may be resumed.
    """

    def __init__(
        self, *, max_in_flight: int = 4, answers_frames: bool = True, heartbeat_s: float = 10.0
    ) -> None:
        self.max_in_flight = max_in_flight
        self.answers_frames = answers_frames
        self.heartbeat_s = heartbeat_s
        self.mute = self.deaf = False
        self.keeps_sessions = True
        self.messages: list[dict[str, Any]] = []
        self.frames = 0
        self.acked = 0
        self._sessions: set[FakeSession] = set()
        self._kept: dict[str, FakeSession] = {}
        self._hellos = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Server | None = None

    def __enter__(self) -> FakeServer:
        self._thread.start()
        self._server = self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the page is."""
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    def of_type(self, name: str) -> list[dict[str, Any]]:
        """The messages of one type that have arrived."""
        return [message for message in self.messages if message["type"] == name]

    def settings(self) -> list[dict[str, Any]]:
        """The settings of every ``update_viz`` that has arrived."""
        return [message["settings"] for message in self.of_type("update_viz")]

    def wait_for(self, condition: Callable[[FakeServer], bool]) -> None:
        """Return once ``condition`` holds; raises AssertionError at the deadline."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), DEADLINE_S), (
                f"did not come to pass; messages: {self.messages[-8:]}"
            )

    def close_all(self, code: int, reason: str, *, bye: bool = True) -> None:
        """Close every connection, after a ``bye`` where there is one."""
        self._run(self._close_all(code, reason, bye=bye))

    def cut_all(self) -> None:
        """Lose every connection, without a word."""
        self._run(self._cut_all())

    def send_all(self, message: ServerMessage) -> None:
        """Send one message on every connection."""
        self._run(self._send_all(message))

    # -- in the loop's thread --------------------------------------------------

    def _run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(DEADLINE_S)

    async def _listen(self) -> Server:
        return await serve(
            self._serve_session,
            "127.0.0.1",
            0,
            process_request=serve_file,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            ping_interval=None,
        )

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        # A browser opens connections ahead of need; those without a request are waited for by
        # nobody, and would outlive the loop.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # their transports close in the next turn

    async def _close_all(self, code: int, reason: str, *, bye: bool) -> None:
        for session in list(self._sessions):
            if bye:
                farewell = Bye(reason=reason, retry_ms=RETRY_MS, resume=True)
                await session.connection.send(encode_text(farewell))
            await session.connection.close(code, reason)

    async def _cut_all(self) -> None:
        for session in list(self._sessions):
            session.connection.transport.abort()

    async def _send_all(self, message: ServerMessage) -> None:
        for session in list(self._sessions):
            await session.connection.send(encode_text(session.numbered(message)))

    async def _serve_session(self, connection: ServerConnection) -> None:
        session = FakeSession(connection)
        try:
            async for message in connection:
                if self.deaf:
                    continue
                if isinstance(message, bytes):
                    await self._answer_frame(session, parse_frame(message))
                elif isinstance(heard := self._hear(message), Hello):
                    session = await self._greet(connection, heard)
                else:
                    await self._answer_text(session, heard)
        except ConnectionClosed:
            pass
        finally:
            if session.connection is connection:
                self._sessions.discard(session)

    async def _answer_frame(self, session: FakeSession, frame: Frame) -> None:
        with self._changed:
            self.frames += 1
            self.acked = max(self.acked, frame.ack)
            self._changed.notify_all()
        if self.answers_frames and not self.mute:
            session.results += 1
            await session.connection.send(encode_result(result_of(session, frame)))

    def _hear(self, text: str) -> ClientMessage:
        message = parse_text(text, Dialect.V1)
        with self._changed:
            self.messages.append(message.model_dump(exclude_none=True) | settings_of(message))
            if isinstance(message, Ack):
                self.acked = max(self.acked, message.seq)
            self._changed.notify_all()
        return message

    async def _answer_text(self, session: FakeSession, message: ClientMessage) -> None:
        session.last_request = message.id or session.last_request
        for reply in self._replies(session, message):
            text = encode_text(session.numbered(reply))
            if not self.mute:
                await session.connection.send(text)

    async def _greet(self, connection: ServerConnection, hello: Hello) -> FakeSession:
        """The session that the client asks for, or a new one."""
        self._hellos += 1
        resume = hello.resume
        kept = self._kept.get(resume.token) if resume and self.keeps_sessions else None
        session = kept or FakeSession(connection, f"s{self._hellos}")
        session.connection = connection
        self._sessions.add(session)
        self._kept[f"t{self._hellos}"] = session
        missing = session.control[resume.last_control :] if kept and resume else []
        for message in (self._welcome(session, hello, resumed=kept is not None), *missing):
            if not self.mute:
                await connection.send(encode_text(message))
        return session

    def _replies(self, session: FakeSession, message: ClientMessage) -> list[ServerMessage]:
        match message:
            case ChangeMode(model_mode=name) if name in MODES:
                session.mode = MODES[name]
                labels = session.mode.labels
                return [ModeChanged(model_mode=name, class_labels=labels, reply_to=message.id)]
            case ChangeMode(model_mode=name):
                return [refusal(ErrorCode.INVALID_MODE, f"no mode is named {name!r}", message)]
            case UpdateViz(settings=settings):
                session.view = session.view.updated(settings, len(session.mode.labels))
                in_force = session.view.model_dump(mode="json")
                return [VizUpdated(settings=in_force, reply_to=message.id)]
            case SubscribeStats() | GetStats():
                return [stats(message)]
            case Ping(t=t):
                return [ServerPong(t=t)]
            case _:
                return []

    def _welcome(self, session: FakeSession, hello: Hello, *, resumed: bool) -> Welcome:
        return Welcome(
            session=session.name,
            resume_token=f"t{self._hellos}",
            resumed=resumed,
            why="the session is not there any more" if hello.resume and not resumed else None,
            last_request=session.last_request,
            heartbeat_s=self.heartbeat_s,
            timeout_s=self.heartbeat_s,
            max_in_flight=self.max_in_flight,
            max_frame_bytes=1 << 20,
            max_frame_pixels=1 << 21,
            modes=tuple(mode_info(spec) for spec in MODES.values()),
            mode=session.mode.name,
            viz=session.view.model_dump(mode="json"),
            retry_ms=RETRY_MS,
        )


# ------------------------------------------------------------------ messages


def mode_info(spec: ModeSpec) -> ModeInfo:
    """One mode as the welcome tells it."""
    return ModeInfo(
        name=spec.name,
        title=spec.title,
        labels=spec.labels,
        palette=spec.palette,
        input_size=spec.input_size,
    )


def refusal(code: ErrorCode, words: str, request: ClientMessage) -> Error:
    """The error that answers one request."""
    return Error(code=code, message=words, reply_to=request.id)


def settings_of(message: ClientMessage) -> dict[str, Any]:
    """``update_viz`` settings as sent: a null there is a value, not an absence."""
    return {"settings": message.settings} if isinstance(message, UpdateViz) else {}


def stats(request: ClientMessage) -> Stats:
    """Canned statistics."""
    return Stats(
        avg_inference_ms=6.2,
        min_inference_ms=5.8,
        max_inference_ms=7.9,
        avg_fps=30.0,
        session={},
        scene={"stability": 0.97},
        server={"sessions": 1, "replicas": {"Ingress": 1, "Segmenter": 2}},
        reply_to=request.id,
    )


# ------------------------------------------------------------------ pictures


def result_of(session: FakeSession, frame: Frame) -> Result:
    """The canned answer to one frame, in the form that the session's view asks for."""
    decoded = cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None, "the page sent something that is not a picture"
    picture = decoded.astype(np.uint8, copy=False)
    height, width = picture.shape[:2]
    labels = silhouette(height, width, len(session.mode.labels))
    masked = session.view.output == "mask"
    payload = (
        encode_mask(labels, session.mode) if masked else encode_overlay(picture, labels, session)
    )
    meta = ResultMeta(
        mode=session.mode.name,
        width=width,
        height=height,
        media_type="image/png" if masked else "image/jpeg",
        stages_ms=STAGES_MS,
        batch=1,
        classes=shares(labels, session.mode),
    )
    return Result(session.results, frame.seq, frame.captured_us, meta, payload)


def silhouette(height: int, width: int, class_count: int) -> Pixels:
    """A label map uint8 [height, width]: head and shoulders, the classes one below the other."""
    labels = np.zeros((height, width), np.uint8)
    centre = (width // 2, int(height * 0.36))
    cv2.ellipse(labels, centre, (int(height * 0.14), int(height * 0.19)), 0, 0, 360, 1, -1)
    shoulders = (width // 2, height)
    cv2.ellipse(labels, shoulders, (int(height * 0.42), int(height * 0.5)), 0, 0, 360, 1, -1)
    bands = 1 + np.arange(height) * (class_count - 1) // height
    return (labels * bands[:, None]).astype(np.uint8)


def shares(labels: Pixels, mode: ModeSpec) -> tuple[ClassShare, ...]:
    """The share of each class on show, without the background."""
    counts = np.bincount(labels.ravel(), minlength=len(mode.labels)) / labels.size
    return tuple(
        ClassShare(id=i, label=mode.labels[i], share=float(counts[i]))
        for i in range(1, len(mode.labels))
        if counts[i] > 0
    )


def encode_mask(labels: Pixels, mode: ModeSpec) -> bytes:
    """A PNG as v1 describes it: bilevel for two classes, else palette indices are class ids."""
    if len(mode.labels) == 2:
        image = Image.fromarray(labels * np.uint8(255)).convert("1")
    else:
        image = Image.fromarray(labels)
        image.putpalette([channel for colour in mode.palette for channel in colour])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def encode_overlay(picture: Pixels, labels: Pixels, session: FakeSession) -> bytes:
    """A JPEG: class colours over the picture, at the opacity of the view."""
    colours = np.array(session.mode.palette, np.uint8)[:, ::-1][labels]
    weight = session.view.overlay_opacity * (labels > 0)[..., None]
    mixed = picture * (1 - weight) + colours * weight
    done, buffer = cv2.imencode(".jpg", mixed.astype(np.uint8))
    assert done
    return buffer.tobytes()


# ------------------------------------------------------------------ the page


def serve_file(_: ServerConnection, request: Request) -> Response | None:
    """The page's files as the ingress serves them; None leaves ``/ws`` to the handshake."""
    path = request.path.partition("?")[0]
    if path == "/ws":
        return None
    file = WEB / ("index.html" if path == "/" else path.removeprefix("/web/"))
    if not file.is_file() or WEB not in file.resolve().parents:
        return respond(HTTPStatus.NOT_FOUND, "text/plain", b"")
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return respond(HTTPStatus.OK, media_type, file.read_bytes())


def respond(status: HTTPStatus, media_type: str, body: bytes) -> Response:
    """One HTTP response."""
    headers = Headers(
        {
            **HEADERS,
            "Content-Type": media_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)
