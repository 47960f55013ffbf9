"""FastAPI as a good engineer would use it for this: no framework for models, a thread pool.

It follows FastAPI's page on WebSockets (https://fastapi.tiangolo.com/advanced/websockets/)
and Python's advice on blocking code in asyncio (``loop.run_in_executor``): binary JPEG in,
binary PNG out, one frame after the other per socket, each as a whole on one thread of a
pool that all sockets share. The pipeline takes the pool and returns its future, so a frame
makes one hop to a thread and one back, as with ``run_in_executor``.

Settings: a pool of two threads for each core, so that decoding and encoding
overlap with inference (numpy, OpenCV and OpenVINO release the GIL); one process, because
threads already use all cores; uvicorn with uvloop, httptools and websockets (of its two ways
to use that library, the one it prefers itself); permessage-deflate off, since JPEG and PNG do
not compress; no access log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.peers.segmenting import WORKERS, mask_async, open_pipeline, port_argument


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with ThreadPoolExecutor(WORKERS, "frames") as pool:
        app.state.pipeline = open_pipeline(pool)
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/ws")
async def segment(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            jpeg = await socket.receive_bytes()
            await socket.send_bytes(await mask_async(socket.app.state.pipeline, jpeg))
    except WebSocketDisconnect:
        pass


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port_argument(),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
