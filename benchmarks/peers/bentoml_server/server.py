"""BentoML: a WebSocket in a mounted FastAPI app before a service that batches adaptively.

It follows BentoML's pages on WebSocket endpoints, on adaptive batching and on distributed
services (https://docs.bentoml.com/en/latest/build-with-bentoml/websocket.html,
.../get-started/adaptive-batching.html, .../build-with-bentoml/distributed-services.html):
``Gateway`` holds the sockets, ``Segmenter`` the model, each in a process of its own, and
``bentoml.depends`` connects them over HTTP on a Unix socket. Binary JPEG in, PNG out.

Settings: batches of up to 16 frames; a frame may wait 2 s before BentoML refuses it, the
age at which SegStream drops one. One worker, since a batch is spread over all cores.
No access log, no metrics, no usage reports. Each call sends a batch of one, which the
dispatcher of ``Segmenter`` merges with those of the other sockets.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bentoml
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.peers.segmenting import MAX_BATCH, masks, open_pipeline, port_argument

QUIET = {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}

# The proxy that ``bentoml.depends`` makes replaces its HTTP session after 100 requests or 5
# minutes, and closes the old one at once, under the requests in flight in it: with 16 sockets
# some of them fail with ServerDisconnectedError (BentoML 1.4.40, _bentoml_impl/client/proxy2.py,
# SessionManager.get_session). So the session is never replaced.
KEEP_SESSION = {"max_requests": 10**12, "max_age": 1e12}

app = FastAPI()


@bentoml.service(workers=1, runner_connection=KEEP_SESSION, **QUIET)
class Segmenter:
    def __init__(self) -> None:
        self._pipeline = open_pipeline()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=2000)
    def segment(self, jpegs: list[bytes]) -> list[bytes]:
        return masks(self._pipeline, jpegs)


@bentoml.service(workers=1, **QUIET)
@bentoml.asgi_app(app, path="/")
class Gateway:
    segmenter = bentoml.depends(Segmenter)

    @app.websocket("/ws")
    async def stream(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                jpeg = await socket.receive_bytes()
                (png,) = await self.segmenter.to_async.segment([jpeg])
                await socket.send_bytes(png)
        except WebSocketDisconnect:
            pass


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.environ["BENTOML_HOME"] = str(Path(sys.prefix) / "home")  # else in the user's home
    service = "benchmarks.peers.bentoml_server.server:Gateway"
    address = ["--host", "127.0.0.1", "--port", str(port_argument())]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", service, *address])
