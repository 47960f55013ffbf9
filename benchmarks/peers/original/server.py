"""The server that SegStream grew out of: everything in the handler, on the event loop.

It follows the first example of FastAPI's page on WebSockets
(https://fastapi.tiangolo.com/advanced/websockets/): receive, work, send. A frame comes
as base64 in JSON, is decoded, segmented, drawn on and encoded inside ``async def``, and
goes back as base64 in JSON. While it does, the event loop stands still: no other socket
is read and none is written, and of all cores one works.

Settings: those of ``uvicorn.run`` by default (permessage-deflate is on, and used where
the client offers it), less the access log. The picture work is that of every peer
(``benchmarks.peers.segmenting``), waited for in place, so one frame is worked on at a time.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.peers.segmenting import open_pipeline, overlay, port_argument


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pipeline = open_pipeline(workers=1)
    yield
    app.state.pipeline.close()


app = FastAPI(lifespan=lifespan)


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
            jpeg = base64.b64decode(message["frame"])
            result = overlay(socket.app.state.pipeline, jpeg)  # blocks: that is the pattern
            frames += 1
            stats = {
                "frames": frames,
                "processing_ms": (time.perf_counter() - begun) * 1e3,
                "classes": dict(result.classes),
            }
            picture = base64.b64encode(result.payload).decode()
            await socket.send_text(json.dumps({"type": "frame", "frame": picture, "stats": stats}))
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=port_argument(), log_level="warning")
