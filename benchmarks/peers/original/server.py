"""The server that SegStream grew out of: everything in the handler, on the event loop.

It follows the first example of FastAPI's page on WebSockets
(https://fastapi.tiangolo.com/advanced/websockets/): receive, work, send. A frame comes as base64
in JSON, is decoded, segmented, drawn on and encoded inside ``async def``, and goes back as
base64 in JSON. While it does, the event loop stands still: no other socket is read and none is
written, and of all cores one works.

The network and its runtime are those of every peer. The picture work is not: this pattern calls
OpenCV and numpy in place, as the tutorials do, at the frame's full size.

Settings: those of ``uvicorn.run`` by default (permessage-deflate is on, and used where the client
offers it), less the access log.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.peers.segmenting import CORES, port_argument
from models.catalog import MODES
from models.runtimes.base import Runtime
from models.runtimes.choice import open_runtime

MODE = MODES["person"]
OPACITY, QUALITY = 0.5, 85


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.runtime = open_runtime(MODE, threads=CORES)
    yield


app = FastAPI(lifespan=lifespan)


def overlay(runtime: Runtime, jpeg: bytes) -> bytes:
    """The frame with the person tinted, as JPEG."""
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert frame is not None
    height, width = frame.shape[:2]
    rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    network_input = cv2.resize(rgb, MODE.input_size[::-1]).astype(np.uint8)
    probabilities = runtime.predict(network_input[np.newaxis])[0, 0]
    mask = cv2.resize(probabilities, (width, height)) > 0.5
    tint = np.zeros_like(frame)
    tint[mask] = MODE.palette[1][::-1]
    tinted = cv2.addWeighted(frame, 1 - OPACITY, tint, OPACITY, 0)
    picture = np.where(mask[..., np.newaxis], tinted, frame).astype(np.uint8)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


@app.websocket("/ws")
async def segment(socket: WebSocket) -> None:
    await socket.accept()
    frames = 0
    try:
        while True:
            message = json.loads(await socket.receive_text())
            if message["type"] != "frame":
                continue
            begun = time.perf_counter()
            # Blocks the event loop: that is the pattern.
            picture = overlay(socket.app.state.runtime, base64.b64decode(message["frame"]))
            frames += 1
            stats = {"frames": frames, "processing_ms": (time.perf_counter() - begun) * 1e3}
            encoded = base64.b64encode(picture).decode()
            await socket.send_text(json.dumps({"type": "frame", "frame": encoded, "stats": stats}))
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port_argument(), log_level="warning")
